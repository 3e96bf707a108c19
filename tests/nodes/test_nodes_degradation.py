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
        image, _, _, report, _ = pack.run("PULSESearch", **{**wired, **inputs})
        return image, json.loads(report)["images"][0]

    return run


def test_every_kind_is_made_with_its_usual_amount_or_says_what_it_needs(pack):
    image = torch.rand(2, 8, 8, 3)
    kinds = next(socket for socket in pack.schema("PULSEDegradation").inputs if socket.id == "kind").metadata["options"]
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
    assert through["search_l2"] < plain["search_l2"]
    hidden = target.clone()
    hidden[:, :4] = 0
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    a, _ = search(image=hidden, degradation=degradation(pack, kind="mask", mask=mask))
    b, _ = search(image=target, degradation=degradation(pack, kind="mask", mask=mask))
    assert torch.allclose(a, b, atol=1e-5), "what is hidden does not matter"


def test_what_is_changed_on_the_node_overrides_the_preset_and_the_rest_is_the_presets(pack, search):
    image, row = search(preset="published", steps=3, eps=0.5)
    settings = pack.extra_pnginfo["pulse"]["PULSESearch"]["settings"]
    assert (row["steps"], row["eps"]) == (settings["steps"], settings["eps"]) == (3, 0.5)
    assert (settings["prior"], settings["init"]) == ("sphere", "random")
    assert (settings["loss"], settings["learning_rate"]) == ("100*L2+0.05*GEOCROSS", 0.4)
    assert (settings["full_every"], settings["fidelity"]) == (1, 0.0)
    assert not torch.equal(image, search(preset="recommended", steps=3, eps=0.5)[0])
    search(preset="published", steps=3, learning_rate=0.9)
    settings = pack.extra_pnginfo["pulse"]["PULSESearch"]["settings"]
    assert (settings["learning_rate"], settings["schedule"]) == (0.9, "linear1cycledrop")


def test_the_published_preset_has_the_papers_steps(pack):
    config = pack.submodule("nodes.pulse_search")._config
    shown = {socket.id: socket.metadata["default"] for socket in pack.schema("PULSESearch").inputs
             if "default" in socket.metadata}  # fmt: skip
    names = set(inspect.signature(pack.submodule("pulse_core.latent_search.config").SearchConfig).parameters)
    widgets = {name: value for name, value in shown.items() if name in names}
    presets = pack.submodule("pulse_core.latent_search.config").PRESETS
    assert {preset: config(preset, widgets, {}) for preset in presets} == presets, "untouched, the node is the preset"
    assert presets["published"].steps == 100


def test_custom_takes_all_as_it_is_on_the_node(pack, search):
    search(preset="custom", learning_rate=0.2)
    settings = pack.extra_pnginfo["pulse"]["PULSESearch"]["settings"]
    assert (settings["learning_rate"], settings["loss"], settings["prior"]) == (0.2, "1*CAUCHY", "whitened")


def test_graphs_from_before_presets_search_as_they_say(pack):
    """Over the API an input that is not named takes the value of execute."""
    assert inspect.signature(pack.nodes["PULSESearch"].execute).parameters["preset"].default == "custom"


def test_connected_settings_come_before_the_preset(pack, search):
    (settings,) = pack.run("PULSESearchSettings", offset_std=0.25)
    first, _ = search(preset="published", settings=settings)
    used = pack.extra_pnginfo["pulse"]["PULSESearch"]["settings"]
    assert (used["offset_std"], used["prior"], used["loss"]) == (0.25, "whitened", "100*L2+0.05*GEOCROSS")
    assert not torch.equal(first, search(preset="published")[0])
    with pytest.raises(ValueError, match="sigma_end is 0"):
        pack.run("PULSESearchSettings", sigma_end=0.0)


def test_the_downscaling_is_exact_unless_fidelity_is_less(search):
    _, row = search()
    assert row["max_error"] <= 1
    assert "(exact)" in row["summary"]
    _, own = search(fidelity=0.0)
    assert own["max_error"] > 1
    assert own["l2"] == pytest.approx(own["residual_all"] ** 2, rel=0.01)
    assert own["residual_all"] == pytest.approx(row["residual_all"], rel=0.1), "the generator's own face is as near"
