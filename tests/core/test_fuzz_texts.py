"""Any text, and damaged fits, latents and PNG metadata: each is accepted, or gives one clear error, in few steps.

Which case it is follows from a number, which a failure names. PULSE_FUZZ_CASES=15000 tries more of them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from steps import steps

from pulse_core.degradations import parse_degradation
from pulse_core.errors import PulseError
from pulse_core.faces.finding import marked_faces
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.losses import parse_loss
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.latents.latent import Latent
from pulse_core.pictures.images import read_metadata, save_image

CASES = max(400, int(os.environ.get("PULSE_FUZZ_CASES", "0")))
STEPS = 400_000  # of Python, for one text of up to 32,768 characters

WORDS = [
    "1",
    "0.5",
    "-1",
    "1e9",
    "1e+2",
    "nan",
    "9" * 400,
    "*",
    "+",
    "(",
    ")",
    ",",
    " ",
    "\n",
    "\0",
    "é",
    "e",
    "E",
    ".",
]
NAMES = ["L2", "MSE", "GEOCROSS", "CAUCHY", "blur", "noise", "jpeg", "motion", "mask", "grey", "bicubic", "area", "x"]
SOUND = ["1*CAUCHY", "100*L2+0.05*GEOCROSS", "blur(1.5) + noise(0.1) + jpeg(10)", "30,40 60,40 45,55 35,70 55,70"]


def any_text(chance: random.Random) -> str:
    """Words of all grammars, or a sound text with damage, sometimes very long."""
    words = [*WORDS, *NAMES]
    text = "".join(chance.choice(words) for _ in range(chance.randrange(30)))
    if chance.random() < 0.4:
        sound = chance.choice(SOUND)
        at = chance.randrange(len(sound) + 1)
        text = sound[:at] + chance.choice(words) + sound[at + chance.randrange(3) :]
    return text * chance.choice([1, 1, 1, 1, 2, 100, 3000])


PARSERS: list[Callable[[str], Any]] = [
    parse_loss,
    parse_degradation,
    lambda text: SearchConfig(loss=text),
    lambda text: SearchConfig(**{chance_name(text): text}),
    lambda text: marked_faces([], text),
]


def chance_name(text: str) -> str:
    names = ("optimizer", "schedule", "noise", "prior", "init", "latent_space")
    return names[len(text) % len(names)]


def is_refused(work: Callable[[], Any], case: str) -> bool:
    """Whether it ends in one clear error; any other error names the case."""
    try:
        work()
    except PulseError as error:
        return len(str(error)) < 4000 or pytest.fail(f"{case}: an error of {len(str(error))} characters")
    except Exception as error:
        raise AssertionError(f"{case}: {error!r:.300}") from error
    return False


def test_any_text_is_parsed_or_refused_in_few_steps():
    refused = 0
    for seed in range(CASES):
        chance = random.Random(f"text {seed}")
        text, parse = any_text(chance), chance.choice(PARSERS)
        outcome = []

        def work(parse=parse, text=text, outcome=outcome, seed=seed) -> None:
            outcome.append(is_refused(lambda: parse(text), f"text {seed}"))

        assert steps(work) < STEPS, f"text {seed}"
        refused += outcome[0]
    assert 0 < refused < CASES


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[bytes, Callable[[Any], Any]]]:
    """A whole file of each kind, and its reader."""
    folder = tmp_path_factory.mktemp("whole")
    Latent(torch.ones(2, 3, 4), (torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 8, 8)), "a", "b", ({}, {})).save(
        folder / "x.latent.safetensors"
    )
    LatentGaussian(torch.zeros(4), torch.ones(4), torch.eye(4)).save(folder / "x.gaussian.safetensors")
    save_image(torch.zeros(3, 4, 4), folder / "x.png", {"seed": 1})
    readers: dict[str, Callable[[Any], Any]] = {
        "x.latent.safetensors": Latent.load,
        "x.gaussian.safetensors": LatentGaussian.load,
        "x.png": read_metadata,
    }
    return {name: ((folder / name).read_bytes(), read) for name, read in readers.items()}


def damaged(chance: random.Random, data: bytes) -> bytes:
    """With one to three damages; those of a header come more often than chance has it."""
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(min(len(data), chance.choice([60, 400, 10**9])) + 1)
        word = chance.choice(
            [b"", b"\0", b"\xff" * 4, b"9" * 30, b"[" * 3000, b"nan", b"\x7f\xc0\0\0", chance.randbytes(3)]
        )
        data = data[:at] + word + data[at + chance.choice([0, len(word), len(word), 5]) :]
    return data


def odd_header(chance: random.Random, name: str) -> bytes:
    """A whole safetensors file with odd metadata and tensors."""
    values = [
        "[[4, 4]]",
        "[[4.0, 4]]",
        "[[true, 4]]",
        "[[1e9, 1e9]]",
        "[[-4, 4]]",
        "{}",
        "null",
        "[" * 5000,
        "9" * 5000,
        "x",
    ]
    shape = [chance.choice([0, 1, 2, 4]) for _ in range(chance.randrange(5))]
    filled = torch.full(shape, chance.choice([0.0, 1.0, float("nan"), float("inf"), -1.0]))
    names = ["ws", "noise.0", "mean", "std", "covariance", "x"]
    tensors = {chance.choice(names): filled.clone() for _ in range(3)}
    return save(tensors, {key: chance.choice(values) for key in ("noise_shapes", "records", "generator")})


def test_damaged_fits_latents_and_metadata_end_in_one_clear_error(tmp_path, files):
    refused = 0
    for seed in range(CASES):
        chance = random.Random(f"file {seed}")
        name, (whole, read) = chance.choice(list(files.items()))
        odd = name.endswith(".safetensors") and chance.random() < 0.3
        path = tmp_path / name
        path.write_bytes(odd_header(chance, name) if odd else damaged(chance, whole))
        refused += is_refused(lambda read=read, path=path: read(path), f"file {seed}: {name}")
    assert 0 < refused < CASES


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000, "nan", "[1]", '"x"', "{"])
def test_malformed_metadata_of_a_png_counts_as_none(tmp_path, value, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda _: value)
    save_image(torch.zeros(3, 4, 4), tmp_path / "x.png", {"seed": 1})
    monkeypatch.undo()
    assert read_metadata(tmp_path / "x.png") is None
