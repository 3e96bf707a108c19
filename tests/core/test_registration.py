"""Moving the outlines of an image to where a target has them."""

from __future__ import annotations

import pytest
import torch

from pulse_core.degradations.bicubic import downsample
from pulse_core.latent_search.registration import register


def disc(centre, size=(128, 128), radius=36.0):
    """[1, 3, H, W]: a bright disc with a soft edge on a dark ground; centre is (column, row) in pixels."""
    rows, columns = (torch.arange(side) + 0.5 for side in size)
    distance = ((columns[None] - centre[0]).square() + (rows[:, None] - centre[1]).square()).sqrt()
    return (0.2 + 0.6 * torch.sigmoid((radius - distance) / 2)).expand(1, 3, *size).clone()


def error_of(image, target):
    return float((downsample(image, size=tuple(target.shape[-2:])) - target).square().mean())


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
@pytest.mark.parametrize("offset", [(3.0, 0.0), (-2.0, 2.5)])  # pixels of the image; one of the target has 8
def test_an_outline_beside_its_place_moves_there(size, offset):
    height, width = size
    middle = (width / 2, height / 2)
    image, moved = disc(middle, size), disc((middle[0] + offset[0], middle[1] + offset[1]), size)
    target = downsample(moved, size=(height // 8, width // 8))
    result = register(image, target)
    assert error_of(result, target) < 0.1 * error_of(image, target)
    assert (result - moved).square().mean() < 0.2 * (image - moved).square().mean()  # where the target says little, too
    assert result.min() >= 0
    assert result.max() <= 1


def test_an_image_in_its_place_stays():
    image = disc((64, 64))
    torch.testing.assert_close(register(image, downsample(image, size=(16, 16))), image, atol=2e-3, rtol=0)


def test_displacements_are_small_and_smooth():
    """Something that the image has not, as a flag, cannot be explained by moving what it has."""
    image = disc((64, 64))
    target = downsample(image, size=(16, 16))
    target[..., :4, :4] = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    result = register(image, target)
    assert (result - image)[..., 64:, 64:].abs().max() < 0.1
    assert error_of(result, target) > 0.5 * error_of(image, target)


def test_each_image_of_a_batch_is_registered_alone():
    images = torch.cat([disc((64, 64)), disc((60, 66))])
    targets = torch.cat([downsample(disc((67, 64)), size=(16, 16)), downsample(disc((58, 66)), size=(16, 16))])
    alone = torch.cat([register(images[row : row + 1], targets[row : row + 1]) for row in range(2)])
    torch.testing.assert_close(register(images, targets), alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("small", [16, 12, 9, 8])
def test_any_size_works_and_a_target_nearly_as_large_changes_nothing(small):
    image = disc((8, 8), (16, 16), 5.0)
    result = register(image, downsample(disc((9, 8), (16, 16), 5.0), size=(small, small)))
    assert result.shape == image.shape
    assert result.isfinite().all()
    assert torch.equal(result, image) == (small > 8)


def test_it_works_without_gradients_and_leaves_none():
    image = disc((64, 64))
    with torch.no_grad():
        result = register(image, downsample(disc((66, 64)), size=(16, 16)))
    assert not result.requires_grad
    assert image.grad is None


def test_it_is_repeatable():
    image, target = disc((64, 64)), downsample(disc((67, 63)), size=(16, 16))
    assert torch.equal(register(image, target), register(image, target))
