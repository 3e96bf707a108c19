"""The downscaling against the reference numbers, and what must hold for any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulse_core.degradations import DEGRADATIONS
from pulse_core.degradations.bicubic import BicubicDownsample, downsample, factor_matrix, size_matrix
from pulse_core.errors import ImageError, SettingError

FACTORS = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize("factor", FACTORS)
def test_kernel_is_the_published_one(golden, factor):
    row = factor_matrix(16 * factor, factor)[8]
    first = 8 * factor - 3 * factor // 2
    np.testing.assert_allclose(row[first : first + 4 * factor], golden("bicubic")[f"kernel.f{factor}"], atol=1e-7)
    assert np.count_nonzero(row) <= 4 * factor


@pytest.mark.parametrize("factor", FACTORS)
def test_output_is_the_published_one(golden, factor):
    tensors = golden("bicubic")
    names = [name for name in tensors if name.startswith("out.") and name.endswith(f".f{factor}")]
    assert names
    for name in names:
        image = tensors["in." + name.split(".")[1]]
        torch.testing.assert_close(downsample(image, factor=factor), tensors[name], atol=2e-6, rtol=0)


def test_rounding_after_each_pass_is_the_published_option(golden):
    tensors = golden("bicubic")
    matrix = torch.from_numpy(factor_matrix(64, 4)).float()
    rows = (matrix @ tensors["in.bytes_64x64"]).round().clamp(0, 255)
    exact = rows @ matrix.mT
    near_half = ((exact - exact.floor()) - 0.5).abs() < 1e-3
    difference = (exact.round().clamp(0, 255) - tensors["out.bytes_64x64.f4.clip_round"]).abs()
    assert difference[~near_half].max() == 0
    assert difference.max() <= 1


def test_gradient_is_the_published_one(golden):
    tensors = golden("bicubic")
    image = tensors["in.pm_64x64"].requires_grad_()
    (downsample(image, factor=8) * tensors["grad.f8.gout"]).sum().backward()
    torch.testing.assert_close(image.grad, tensors["grad.f8.gin_pm_64x64"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("factor", [f for f in FACTORS if f % 2 == 0])
def test_a_size_that_divides_evenly_equals_the_factor(factor):
    np.testing.assert_array_equal(size_matrix(128, 128 // factor), factor_matrix(128, factor))


@pytest.mark.parametrize(("length", "out"), [(1024, 33), (100, 99), (7, 3), (5, 1), (2, 1), (1, 1), (48, 48), (9, 8)])
def test_any_size_keeps_constants_and_is_symmetric(length, out):
    matrix = size_matrix(length, out)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)  # centred: a mirrored picture stays mirrored


def test_the_same_size_is_the_identity():
    image = torch.rand(2, 3, 9, 7)
    torch.testing.assert_close(downsample(image, size=(9, 7)), image, atol=0, rtol=0)


def test_a_linear_ramp_stays_nearly_one_away_from_the_borders():
    ramp = torch.linspace(0, 1, 300, dtype=torch.float64).expand(1, 1, 4, 300)
    inside = downsample(ramp, size=(4, 47))[0, 0, 0, 4:-4]
    torch.testing.assert_close(inside.diff(), inside.diff().mean().expand(38), atol=0, rtol=1e-3)


@pytest.mark.parametrize("operator", [BicubicDownsample(factor=3), BicubicDownsample(size=(5, 4))])
def test_contract_of_a_linear_degradation(operator):
    assert type(operator) in DEGRADATIONS
    x = torch.rand(2, 3, 13, 11, dtype=torch.float64, requires_grad=True)
    y = operator.forward(x)
    assert y.shape[-2:] == operator.output_size(13, 11)
    assert y.dtype == x.dtype
    v = torch.rand_like(y)
    (adjoint,) = torch.autograd.grad(y, x, v)
    u = torch.rand_like(x)
    torch.testing.assert_close((operator.forward(u) * v).sum(), (u * adjoint).sum())  # <Au, v> = <u, A'v>
    assert torch.autograd.gradcheck(operator.forward, x)
    torch.testing.assert_close(operator.forward(x[1:]), y[1:])  # images of a batch do not meet


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "exactly one of the two"),
        ({"factor": 2, "size": (1, 1)}, "exactly one of the two"),
        ({"factor": 0}, "factor is 0"),
        ({"size": (0, 4)}, "height of bicubic is 0"),
    ],
)
def test_impossible_options(options, text):
    with pytest.raises(SettingError) as caught:
        BicubicDownsample(**options)
    assert text in str(caught.value)


@pytest.mark.parametrize("options", [{"factor": 17}, {"size": (17, 4)}, {"size": (4, 17)}])
def test_an_image_that_is_too_small(options):
    with pytest.raises(ImageError, match="The image is 16x16, too small to be downscaled"):
        downsample(torch.rand(1, 3, 16, 16), **options)
