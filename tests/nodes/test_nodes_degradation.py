"""Degradations, presets and settings as nodes, in inference mode as in the host."""

from __future__ import annotations

import inspect
import json

import pytest
import torch


def degradation(pack, **inputs):
    (made,) = pack.run("PULSEDegradation", **inputs)
    return made


@pytest.fixture
def search(pack, generator, gaussian, target):
    def run(**inputs):
        wired = {"stylegan": generator, "image": target, "gaussian": gaussian, "steps": 4, "preview_every": 0}
        image, _, _, report = pack.run("PULSESearch", **{**wired, **inputs})
        return image, json.loads(report)["images"][0]

    return run


def test_every_kind_is_made_with_its_usual_amount_or_says_what_it_needs(pack):
    image = torch.rand(2, 8, 8, 3)
    kinds = next(socket for socket in pack.schema("PULSEDegradation").inputs if socket.id == "kind").facts["options"]
    for kind in kinds:
        if kind in ("bicubic", "area", "lanczos"):
            with pytest.raises(ValueError, match=f"The amount of {kind} is 0"):
                degradation(pack, kind=kind)
        given = {"amount": 4.0} if kind in ("bicubic", "area", "lanczos") else {"mask": torch.eye(8)[None]}
        made = degradation(pack, kind=kind, **given)
        (result,) = pack.run("PULSEDegrade", image=image, degradation=made, seed=1)
        side = 4 if "amount" in given else 8
        assert result.shape == (2, side, side, 3), kind
        assert result.isfinite().all()
        (again,) = pack.run("PULSEDegrade", image=image, degradation=made, seed=1)
        assert torch.equal(result, again)


def test_degradations_in_a_row_happen_in_their_order(pack):
    first = degradation(pack, kind="area", amount=4.0)
    both = degradation(pack, kind="grey", before=first)
    (result,) = pack.run("PULSEDegrade", image=torch.rand(1, 8, 8, 3), degradation=both, seed=0)
    assert result.shape == (1, 4, 4, 3)
    assert torch.allclose(result[..., 0], result[..., 1])
    assert [part.name for part in both.parts] == ["area", "grey"]


def test_a_mask_is_needed_and_hides_what_is_white(pack):
    with pytest.raises(ValueError, match="no mask is connected"):
        degradation(pack, kind="mask")
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    (result,) = pack.run(
        "PULSEDegrade", image=torch.zeros(1, 8, 8, 3), degradation=degradation(pack, kind="mask", mask=mask)
    )
    assert torch.equal(result[:, :4], torch.full((1, 4, 8, 3), 0.5))
    assert not result[:, 4:].any()


def test_a_search_looks_through_a_degradation(pack, search, target):
    grey = target.mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    _, plain = search(image=grey, steps=30)
    _, through = search(image=grey, steps=30, degradation=degradation(pack, kind="grey"))
    assert through["l2"] < plain["l2"]
    hidden = target.clone()
    hidden[:, :4] = 0
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    a, _ = search(image=hidden, degradation=degradation(pack, kind="mask", mask=mask))
    b, _ = search(image=target, degradation=degradation(pack, kind="mask", mask=mask))
    assert torch.allclose(a, b, atol=1e-5), "what is hidden does not matter"


def test_presets_set_how_and_leave_the_rest(search):
    _, row = search(preset="published", steps=3, eps=0.5, learning_rate=77.0)
    assert (row["steps"], row["eps"]) == (3, 0.5)
    images = {preset: search(preset=preset)[0] for preset in ("recommended", "published")}
    assert not torch.equal(images["recommended"], images["published"])
    same = search(preset="recommended", learning_rate=0.9, loss="nonsense")[0]
    assert torch.equal(same, images["recommended"])


def test_graphs_from_before_presets_search_as_they_say(pack):
    """Over the API an input that is not named takes the value of execute."""
    assert inspect.signature(pack.nodes["PULSESearch"].execute).parameters["preset"].default == "custom"


def test_connected_settings_come_before_the_preset(pack, search):
    (settings,) = pack.run("PULSESearchSettings", candidates=9)
    _, row = search(settings=settings, eps=0.0)
    assert row["steps"] == 36
    with pytest.raises(ValueError, match="sigma_end is 0"):
        pack.run("PULSESearchSettings", sigma_end=0.0)


def test_consistency_makes_the_downscaling_exact(search):
    _, row = search(consistency=1.0)
    assert row["l2"] < row["search_l2"] / 10
