"""Images that a node cannot use are refused with what was found; unusual ones that it can use work."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def search(pack, generator, gaussian):
    return lambda image: pack.run(
        "PULSESearch", stylegan=generator, image=image, gaussian=gaussian, steps=2, preview_every=0
    )


def grey(*shape):
    return torch.full(shape, 0.5)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (grey(1, 8, 8, 3) * torch.nan, "holds NaN or infinite values"),
        (grey(1, 8, 8, 3) / 0, "holds NaN or infinite values"),
        (grey(1, 8, 8, 3) * 510, "values run from 255 to 255"),
        (grey(1, 8, 16, 3), "The target is 16x8; tiny makes 32x32. Accepted: a square"),
        (grey(1, 33, 33, 3), "The target is 33x33; tiny makes 32x32. Accepted: at most the generator's size"),
        (grey(1, 95, 95, 3), "The target is 95x95; tiny makes 32x32. Accepted: at most the generator's size"),
        (grey(1, 8, 8, 5), "The image has 5 channels"),
        (grey(0, 8, 8, 3), "The IMAGE input holds a tensor [0, 8, 8, 3]"),
    ],
    ids=["nan", "infinite", "8-bit values", "not square", "33", "too large", "5 channels", "empty batch"],
)
def test_the_error_of_an_unusable_target_describes_it(search, image, found):
    with pytest.raises(ValueError) as error:
        search(image)
    assert found in str(error.value)
    assert " What to do: " in str(error.value)


@pytest.mark.parametrize("side", [1, 9, 32])
def test_every_size_up_to_the_generators_is_a_target(search, side):
    result, small, *_ = search(grey(1, side, side, 3))
    assert result.shape == (1, 32, 32, 3)
    assert small.shape == (1, side, side, 3)


def test_a_large_image_is_shrunk_to_the_generators_size_at_most(search, host):
    """Even where nothing can be measured."""
    _, small, *_ = search(grey(1, 512, 512, 3))
    assert small.shape == (1, 32, 32, 3)
    assert "matched at 32 of 512 pixels" in host.texts[-1][1]


def test_a_refused_target_does_not_load_the_progress_bar(search, host):
    with pytest.raises(ValueError, match="33x33"):
        search(grey(1, 33, 33, 3))
    assert not host.updates


def test_a_grey_target_is_its_repetition_in_rgb(search, target):
    luma = target.mean(-1, keepdim=True)
    result, small, *_ = search(luma)
    assert result.shape == (1, 32, 32, 3)
    assert small.shape == (1, 8, 8, 3)
    assert torch.equal(result, search(luma.expand(-1, -1, -1, 3))[0])


def test_an_opaque_target_is_the_same_without_its_alpha(search, target):
    opaque = torch.cat([target, torch.ones_like(target[..., :1])], -1)
    assert torch.equal(search(opaque)[0], search(target)[0])


def test_a_transparent_target_is_laid_on_white(search, target):
    transparent = torch.cat([target, torch.zeros_like(target[..., :1])], -1)
    assert torch.equal(search(transparent)[0], search(torch.ones_like(target))[0])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_downsampling_keeps_the_channels(pack, channels):
    (small,) = pack.run("BicubicDownsample", image=torch.rand(2, 32, 16, channels), factor=8)
    assert small.shape == (2, 4, 2, channels)


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"factor": 64}, "The image is 16x32, too small to be downscaled by factor 64"),
        ({"mode": "size", "width": 17, "height": 8}, "The image is 16x32, too small to be downscaled by size 17x8"),
    ],
)
def test_downsampling_beyond_the_image_raises(pack, inputs, found):
    with pytest.raises(ValueError) as error:
        pack.run("BicubicDownsample", image=grey(1, 32, 16, 3), **inputs)
    assert found in str(error.value)
