"""Blind preferences: pairs, the key, and the evaluation of answers."""

from __future__ import annotations

import json

import pytest
import torch

from bench.quality.blind import ANSWERS, KEY, make, preferences, score, seal, share, store, unseal
from pulse_core.errors import SettingError
from pulse_core.pictures.images import read_image, save_image

ROWS = ("earlier", "recommended")


@pytest.fixture
def pictures(tmp_path):
    """Of four targets: the one row's are black, the other's white; a fifth has one row only."""
    folder = tmp_path / "quality"
    for number in range(5):
        for row, level in zip(ROWS, (0.0, 1.0), strict=True):
            if number < 4 or row == "earlier":
                save_image(torch.full((3, 64, 64), level), folder / f"p{number}|32|clean|{row}|0.png")
        save_image(torch.full((3, 48, 48), 0.5), folder / f"p{number}.png")
    return folder


def test_only_the_key_names_the_rows_of_a_pair(pictures, tmp_path):
    assert make(ROWS, tmp_path / "blind", pictures, seed=3) == 4
    data = (tmp_path / "blind" / KEY).read_bytes()
    assert b"earlier" not in data
    key = unseal(data)
    assert {pair["target"] for pair in key["pairs"].values()} == {"p0", "p1", "p2", "p3"}
    assert len({pair["A"] for pair in key["pairs"].values()}) == 2  # this seed shows both on either side
    for number, pair in key["pairs"].items():
        sheet = read_image(tmp_path / "blind" / f"{int(number):03d}.jpg")
        left, right = sheet[:, -32, 10].mean(), sheet[:, -32, -10].mean()
        assert (left < right) == (pair["A"] == "earlier")


def test_pairs_depend_on_the_seed_and_may_show_the_truth(pictures, tmp_path):
    keys = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(ROWS, tmp_path / name, pictures, seed=seed, truth=name == "b")
        keys.append(unseal((tmp_path / name / KEY).read_bytes())["pairs"])
    assert keys[0] == keys[1] != keys[2]
    sizes = [(tmp_path / name / "001.jpg").stat().st_size for name in ("a", "b")]
    assert sizes[0] < sizes[1]


def test_keys_are_read_back_and_damaged_ones_refused():
    key = {"lr": 32, "seed": 0, "truth": False, "pairs": {"1": {"target": "a", "A": "x", "B": "y"}}}
    assert unseal(seal(key)) == key
    with pytest.raises(SettingError, match="cannot be read"):
        unseal(seal(key)[5:])


def test_answers_are_counted_as_shares(pictures, tmp_path):
    make(ROWS, tmp_path / "blind", pictures)
    key = unseal((tmp_path / "blind" / KEY).read_bytes())
    answers = json.loads((tmp_path / "blind" / ANSWERS).read_text())
    for number, pair in key["pairs"].items():
        answers[number] = "A" if pair["A"] == "recommended" else "B"
    answers["2"] = "="
    answers["3"] = ""  # not answered
    (found,) = score(answers, key)
    assert found["votes"] == {"earlier": 0, "recommended": 2, "=": 1}
    assert share(found, "recommended") == pytest.approx(2.5 / 3)
    assert share(found, "earlier") == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("answers", [{"9": "A"}, {"1": "C"}, {"1": ""}, {}])
def test_invalid_answers_are_refused(answers, pictures, tmp_path):
    make(ROWS, tmp_path / "blind", pictures)
    key = unseal((tmp_path / "blind" / KEY).read_bytes())
    with pytest.raises(SettingError, match="A, B or ="):
        score(answers, key)


def test_stored_preferences_are_read_and_replaced(tmp_path):
    path = tmp_path / "PREFERENCES.json"
    assert preferences(path) == []
    key = {"lr": 32, "seed": 0, "truth": True, "pairs": {"1": {"target": "a", "A": "x", "B": "y"}}}
    for answer in ("A", "B"):
        store(score({"1": answer}, key), key, "first", path)
    store(score({"1": "A"}, key), key, "second", path)
    found = preferences(path)
    assert [(each["who"], each["votes"]["x"]) for each in found] == [("first", 0), ("second", 1)]


def test_rows_without_pictures_are_refused(pictures, tmp_path):
    with pytest.raises(SettingError, match="no pair of pictures"):
        make(("earlier", "unheard of"), tmp_path / "blind", pictures)
