"""Every degradation: the contract of `Degradation`, the numbers of each, chains, and the forward operator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from pulse_core.degradations import DEGRADATIONS, Chain, Degradation, forward_operator
from pulse_core.degradations.area import AreaDownsample, area_matrix
from pulse_core.degradations.bicubic import BicubicDownsample
from pulse_core.degradations.blur import GaussianBlur, MotionBlur, line_kernel
from pulse_core.degradations.grey import Grey
from pulse_core.degradations.jpeg import JPEG, compress, quantisation_table
from pulse_core.degradations.lanczos import LanczosDownsample
from pulse_core.degradations.mask import Mask
from pulse_core.degradations.noise import Noise, SaltAndPepper
from pulse_core.errors import ImageError, SettingError

HALF = torch.tensor([[1.0, 0.0]])  # the right half is hidden
EXAMPLES = (
    BicubicDownsample(size=(3, 4)),
    BicubicDownsample(factor=2),
    AreaDownsample(size=(3, 4)),
    AreaDownsample(factor=2),
    LanczosDownsample(size=(3, 4)),
    LanczosDownsample(factor=2),
    GaussianBlur(1.5),
    MotionBlur(4.5, 30),
    Noise(0.1),
    SaltAndPepper(0.3),
    JPEG(30),
    Mask(HALF),
    Grey(),
    Chain([GaussianBlur(0.7), AreaDownsample(factor=2), Grey(), Noise(0.1)]),
)
PRESERVE_CONSTANTS = tuple(example for example in EXAMPLES if not isinstance(example, (JPEG, Grey, Chain)))
SIZES = ((8, 8), (7, 5), (6, 9), (16, 17))

every = pytest.mark.parametrize("degradation", EXAMPLES, ids=lambda each: each.name)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=seeded(seed), dtype=dtype)


def test_every_kind_has_an_example():
    assert {type(example) for example in EXAMPLES} == {*DEGRADATIONS, Chain}
    assert len({kind.name for kind in DEGRADATIONS}) == len(DEGRADATIONS)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", SIZES)
def test_shapes_and_dtypes(degradation, size, dtype):
    x = picture(2, 3, *size, dtype=dtype)
    out = (2, 3, *degradation.output_size(*size))
    for y in (degradation.forward(x), degradation.apply(x, seeded())):
        assert y.shape == out
        assert y.dtype == dtype
        assert y.isfinite().all()
    y = degradation.forward(x)
    assert degradation.project(y).shape == out
    weights = degradation.weight_map(y)
    if weights is not None:
        assert weights.shape == (2, 1, *out[2:])
        assert weights.dtype == dtype
        assert 0 <= weights.min() <= weights.max() <= 1


@every
def test_images_of_a_batch_are_independent(degradation):
    x = picture(3, 3, 7, 9)
    together = degradation.forward(x)
    for index in range(3):
        torch.testing.assert_close(degradation.forward(x[index : index + 1])[0], together[index])


@every
@pytest.mark.parametrize("size", [(5, 7), (4, 4)])
def test_gradient_adjoint_and_linearity(degradation, size):
    x = picture(1, 3, *size).requires_grad_()
    assert torch.autograd.gradcheck(degradation.forward, x)
    y = degradation.forward(x)
    v, u = torch.randn(y.shape, generator=seeded(1), dtype=y.dtype), picture(1, 3, *size, seed=2)
    (adjoint,) = torch.autograd.grad(y, x, v)
    torch.testing.assert_close((degradation.forward(u) * v).sum(), (u * adjoint).sum())  # <Au, v> = <u, A'v>
    torch.testing.assert_close(degradation.forward(2 * x - 3 * u), 2 * y - 3 * degradation.forward(u))


@pytest.mark.parametrize("degradation", PRESERVE_CONSTANTS, ids=lambda each: each.name)
@pytest.mark.parametrize("size", [(7, 5), (4, 16)])
def test_constant_pictures_are_preserved(degradation, size):
    x = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)[None, :, None, None].expand(1, 3, *size)
    y = degradation.forward(x)
    torch.testing.assert_close(y, x[..., : y.shape[-2], : y.shape[-1]], atol=1e-6, rtol=0)


@every
def test_apply_depends_only_on_the_seed(degradation):
    x, before = picture(2, 3, 16, 16, dtype=torch.float32), torch.get_rng_state()
    first = degradation.apply(x, seeded(7))
    assert torch.equal(first, degradation.apply(x, seeded(7)))
    assert torch.equal(torch.get_rng_state(), before)
    is_random = degradation.name in ("noise", "salt_and_pepper", "chain")
    assert torch.equal(first, degradation.apply(x, seeded(8))) != is_random


@every
def test_operators_made_in_inference_mode_have_gradients(degradation):
    with torch.inference_mode():  # as ComfyUI calls the nodes
        target = degradation.forward(picture(1, 3, 8, 8))
        made = Mask(HALF.clone()) if isinstance(degradation, Mask) else degradation
    x = picture(1, 3, 8, 8, seed=1).requires_grad_()
    weights = made.weight_map(target)
    error = (made.forward(x) - made.project(target.clone())).square() * (1 if weights is None else weights)
    (gradient,) = torch.autograd.grad(error.sum(), x)
    assert gradient.abs().max() > 0


def test_defaults_of_the_base_class():
    class Negative(Degradation):
        def forward(self, x):
            return 1 - x

    own, x = Negative(), picture(1, 3, 4, 4)
    assert own.output_size(4, 5) == (4, 5)
    assert torch.equal(own.apply(x, seeded()), 1 - x)
    assert own.project(x) is x
    assert own.weight_map(x) is None
    assert own.noise_variance(x).tolist() == [0]
    assert Chain([own, own]).name == "chain"


# resizing


@pytest.mark.parametrize(("length", "out"), [(12, 3), (7, 3), (10, 9), (5, 5), (3, 7)])
def test_area_downsampling_is_the_exact_average(length, out):
    fine = np.eye(length).repeat(out, axis=0)  # each pixel is `out` parts; `length` parts are averaged
    np.testing.assert_allclose(area_matrix(length, out, length / out), fine.reshape(out, length, length).mean(1))


def test_area_downsampling_by_a_factor_drops_the_remainder():
    x = picture(1, 3, 7, 9)
    expected = x[..., :6, :8].unflatten(-1, (4, 2)).unflatten(-3, (3, 2)).mean((-1, -3))
    torch.testing.assert_close(AreaDownsample(factor=2).forward(x), expected)


def test_lanczos_matches_pillow_away_from_the_borders():
    x = picture(1, 1, 48, 36, dtype=torch.float32)
    reference = Image.fromarray(x[0, 0].numpy(), "F").resize((12, 16), Image.Resampling.LANCZOS)
    y = LanczosDownsample(size=(16, 12)).forward(x)[0, 0]
    torch.testing.assert_close(y[3:-3, 3:-3], torch.from_numpy(np.array(reference))[3:-3, 3:-3], atol=1e-4, rtol=0)
    assert (y - torch.from_numpy(np.array(reference))).abs().max() > 1e-3  # the borders are mirrored here, cut there


@pytest.mark.parametrize("kind", [BicubicDownsample, AreaDownsample, LanczosDownsample])
def test_resizing_to_the_same_size_is_the_identity(kind):
    x = picture(1, 3, 6, 7)
    torch.testing.assert_close(kind(size=(6, 7)).forward(x), x)
    with pytest.raises(ImageError, match="too small to be downscaled by size 7x9"):
        kind(size=(9, 7)).forward(x)


# blurs


def test_blur_has_variance_sigma_squared_and_mirrors_the_borders():
    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    x[..., 20, 20] = 1
    y, place = GaussianBlur(2.5).forward(x)[0, 0], torch.arange(41.0, dtype=torch.float64) - 20
    torch.testing.assert_close(
        (y.sum(0) * place**2).sum(), torch.tensor(2.5**2, dtype=torch.float64), atol=0.02, rtol=0
    )
    torch.testing.assert_close(y, y.mT)
    torch.testing.assert_close(y, y.flip(0))
    small = picture(1, 1, 3, 4)
    mirrored = torch.cat([small, small.flip(-2)[..., 1:-1, :]], -2)  # one period of the periodic extension
    mirrored = torch.cat([mirrored, mirrored.flip(-1)[..., 1:-1]], -1).repeat(1, 1, 15, 11)
    middle = GaussianBlur(4).forward(mirrored)[..., 28:31, 30:34]
    torch.testing.assert_close(GaussianBlur(4).forward(small), middle, atol=1e-6, rtol=0)


def test_horizontal_motion_blur_is_a_moving_average():
    x = picture(1, 3, 5, 12)
    expected = x.unfold(-1, 5, 1).mean(-1)
    torch.testing.assert_close(MotionBlur(5, 0).forward(x)[..., 2:-2], expected)
    torch.testing.assert_close(MotionBlur(5, 0).forward(x)[..., 0], x[..., [2, 1, 0, 1, 2]].mean(-1))  # mirrored
    torch.testing.assert_close(MotionBlur(5, 90).forward(x.mT)[..., 2:-2, :], expected.mT)
    torch.testing.assert_close(MotionBlur(1, 0).forward(x), x)
    half = MotionBlur(4, 180).forward(x)[..., 2:-2]  # the pixels at both ends count half
    torch.testing.assert_close(half, expected * 5 / 4 - (x[..., :-4] + x[..., 4:]) / 8)


@pytest.mark.parametrize("angle", [0, 20, 45, 77, 90, 135, 359])
@pytest.mark.parametrize("length", [1, 3.3, 8])
def test_moments_of_a_line_kernel(length, angle):
    kernel = line_kernel(length, angle)
    radius = len(kernel) // 2
    place = np.arange(-radius, radius + 1)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-9)
    spread = (kernel * (place[:, None] ** 2 + place**2)).sum()
    assert spread == pytest.approx(length**2 / 12, abs=0.6)  # variance of the line, up to its discretisation
    tilt = -(kernel * np.outer(place, place)).sum()  # counter-clockwise: up is where rows are negative
    assert tilt == pytest.approx(length**2 / 24 * math.sin(2 * math.radians(angle)), abs=0.4)


def test_motion_blur_longer_than_the_picture():
    y = MotionBlur(50, 10).forward(picture(1, 3, 3, 2))
    assert y.max() - y.min() < 0.6
    assert y.shape == (1, 3, 3, 2)


# noise


def test_noise_variance_matches_the_applied_noise():
    x = torch.full((1, 3, 100, 100), 0.5)
    noise = Noise(0.1)
    error = noise.apply(x, seeded()) - x
    assert error.mean().abs() < 3e-3
    predicted = noise.noise_variance(x.expand(2, -1, -1, -1))
    assert error.square().mean() == pytest.approx(float(predicted[0]), rel=0.03)
    assert predicted.tolist() == pytest.approx([0.01, 0.01])
    loud = Noise(1).apply(x, seeded())
    assert (loud.min(), loud.max()) == (0, 1)
    assert torch.equal(noise.forward(x), x)


def test_salt_and_pepper_pixels_have_weight_0():
    x = torch.full((2, 3, 100, 100), 0.5)
    y = SaltAndPepper(0.3).apply(x, seeded())
    black, white = (y == 0).all(1), (y == 1).all(1)
    assert black.float().mean() == pytest.approx(0.15, abs=0.01)
    assert white.float().mean() == pytest.approx(0.15, abs=0.01)
    assert ((y == x).all(1) | black | white).all()
    assert torch.equal(SaltAndPepper(0.3).weight_map(y)[:, 0] == 0, black | white)
    nearly = torch.tensor([0, 0.4, 0.6, 254.4, 254.6, 255]).div(255).expand(1, 3, 1, 6)
    assert SaltAndPepper(0.3).weight_map(nearly).flatten().tolist() == [0, 0, 1, 1, 0, 0]
    red = torch.tensor([1.0, 0, 0])[None, :, None, None]
    assert SaltAndPepper(0.3).weight_map(red).item() == 1


# JPEG


def smooth(*size: int) -> torch.Tensor:
    """Pictures with edges and colours, 8-bit."""
    x = GaussianBlur(1.2).forward(picture(8, 3, *size, dtype=torch.float32))
    return ((x - 0.5) * 3 + 0.5).clamp(0, 1).mul(255).round() / 255


@pytest.mark.parametrize("quality", [5, 10, 30, 75, 95])
@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 31), (5, 3), (12, 18), (18, 6)])
def test_jpeg_approximates_pillow(size, quality):
    x = smooth(*size)
    real = JPEG(quality).apply(x, seeded())
    error = (compress(x, quality).clamp(0, 1) - real).abs()
    assert error.mean() < 1.5 / 255
    assert error.median() < 1 / 255
    assert (x - real).abs().mean() > 2 * error.mean()


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 60, 100])
def test_jpeg_uses_the_quantisation_tables_of_libjpeg(quality, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", quality=quality)
    tables = Image.open(tmp_path / "x.jpg").quantization
    assert tables[0] == quantisation_table("luma", quality).flatten().tolist()
    assert tables[1] == quantisation_table("chroma", quality).flatten().tolist()


@pytest.mark.parametrize("quality", [10, 30, 75])
@pytest.mark.parametrize("size", [(16, 16), (32, 32), (33, 31)])
def test_jpeg_noise_variance_approximates_its_rounding_error(size, quality):
    x, jpeg = smooth(*size), JPEG(quality)
    y = jpeg.apply(x, seeded())
    added, predicted = (y - jpeg.forward(x)).square().flatten(1).mean(1), jpeg.noise_variance(y)
    assert predicted.shape == (8,)
    assert 0.2 < float((predicted / added).log().mean().exp()) < 1.1  # coefficients rounded to 0 are not counted
    torch.testing.assert_close(jpeg.noise_variance(y[2:3]), predicted[2:3])


def test_jpeg_forward_preserves_grey_pictures():
    grey = picture(1, 1, 9, 17).expand(1, 3, -1, -1)
    torch.testing.assert_close(JPEG(20).forward(grey), grey, atol=1e-3, rtol=0)


@pytest.mark.parametrize("degradation", [JPEG(10), Grey()])
def test_jpeg_and_grey_require_three_channels(degradation):
    with pytest.raises(ImageError, match=rf"{degradation.name} was given a picture of the shape \[1, 1, 8, 8\]"):
        degradation.forward(torch.rand(1, 1, 8, 8))


# masks and grey


def test_a_mask_sets_weights_and_fills_hidden_pixels_with_grey():
    mask, x = Mask(HALF), torch.rand(2, 3, 3, 4, generator=seeded())
    assert mask.weight_map(x).shape == (2, 1, 3, 4)
    assert mask.weight_map(x)[1, 0].tolist() == [[1, 1, 0, 0]] * 3
    y = mask.apply(x, seeded())
    assert torch.equal(y[..., :2], x[..., :2])
    assert (y[..., 2:] == 0.5).all()
    assert mask.weight_map(x[..., :3])[0, 0, 0].tolist() == [1, 0.5, 0]  # by area


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (torch.ones(3, 4, 4), r"The mask has the shape \[3, 4, 4\]."),
        (torch.ones(0, 4), r"The mask has the shape \[0, 4\]."),
        (torch.zeros(4, 4), "The mask's values run from 0 to 0."),
        (torch.tensor([[0.0, 255]]), "The mask's values run from 0 to 255."),
        (torch.tensor([[0.0, math.nan]]), "The mask's values run from nan to nan."),
    ],
)
def test_invalid_masks_are_refused(mask, found):
    with pytest.raises(SettingError, match=found):
        Mask(mask)


def test_grey_is_luma_and_projects_the_target():
    red = torch.tensor([1.0, 0, 0])[None, :, None, None]
    assert Grey().forward(red).flatten().tolist() == pytest.approx([0.299] * 3)
    x = picture(1, 3, 4, 4)
    torch.testing.assert_close(Grey().project(x), Grey().forward(x))
    torch.testing.assert_close(Grey().project(Grey().project(x)), Grey().project(x))
    picture_in_l = np.asarray(Image.fromarray(np.uint8(x[0].permute(1, 2, 0) * 255)).convert("L"))
    assert np.abs(Grey().forward(x)[0, 0].numpy() * 255 - picture_in_l).max() < 1.6


# chains


def test_a_chain_applies_its_parts_in_order():
    x = picture(2, 3, 8, 8)
    blur, area, noise, salt, grey = GaussianBlur(1), AreaDownsample(factor=2), Noise(0.1), SaltAndPepper(0.3), Grey()
    chain = Chain([Chain([blur, area]), Chain([Chain([noise]), salt, Mask(HALF), grey])])
    assert [part.name for part in chain.parts] == ["blur", "area", "noise", "salt_and_pepper", "mask", "grey"]
    assert chain.output_size(8, 9) == (4, 4)
    torch.testing.assert_close(chain.forward(x), grey.forward(area.forward(blur.forward(x))))
    random = seeded(3)
    expected = salt.apply(noise.apply(area.forward(blur.forward(x)), random), random)
    y = chain.apply(x, seeded(3))
    torch.testing.assert_close(y, grey.forward(Mask(HALF).apply(expected, random)))
    torch.testing.assert_close(chain.project(expected), grey.forward(expected))
    torch.testing.assert_close(chain.weight_map(expected), salt.weight_map(expected) * Mask(HALF).weight_map(expected))
    assert 0 < chain.weight_map(expected).mean() < 0.5
    assert Chain([noise, blur, Noise(0.2)]).noise_variance(y).tolist() == pytest.approx([0.05] * len(y))
    assert Chain([noise, blur]).weight_map(y) is None
    order = Chain([AreaDownsample(size=(4, 4)), blur]).forward(x) - Chain([blur, AreaDownsample(size=(4, 4))]).forward(
        x
    )
    assert order.abs().max() > 0.01
    with pytest.raises(SettingError, match="The chain has no parts"):
        Chain([])


def test_forward_operator_downsamples_to_the_target_size():
    plain = forward_operator(None, (4, 6), (8, 12))
    assert isinstance(plain, BicubicDownsample)
    assert plain.output_size(8, 12) == (4, 6)
    own = Chain([GaussianBlur(1), AreaDownsample(factor=2)])
    assert forward_operator(own, (4, 6), (8, 12)) is own
    blur = GaussianBlur(1)
    assert forward_operator(blur, (8, 12), (8, 12)) is blur
    after, x = forward_operator(blur, (4, 6), (8, 12)), picture(1, 3, 8, 12)
    torch.testing.assert_close(after.forward(x), blur.forward(plain.forward(x)))
    with pytest.raises(ImageError, match=r"6x5.*6x4.*12x8"):
        forward_operator(own, (5, 6), (8, 12))
    with pytest.raises(ImageError, match=r"4x4.*6x6.*8x8"):
        forward_operator(AreaDownsample(size=(6, 6)), (4, 4), (8, 8))
    for degradation in (None, blur):
        with pytest.raises(ImageError, match="The image is 8x8, too small to be downscaled by size 9x9"):
            forward_operator(degradation, (9, 9), (8, 8))
