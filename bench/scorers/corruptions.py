"""Natural samples of a generator and corrupted ones: the training data of the classifier in `realism.py`.

Each corruption imitates an artefact of a search: styles far from the prior, noise maps that draw the residual, latents
fitted to something that is not a face, corrections that ring along edges or show as blotches, blur and JPEG blocks.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pulse_core.generators import Generator
from pulse_core.latents.gaussian import LatentGaussian
from pulse_core.pictures.images import from_pil, to_picture, to_pil

Random = torch.Generator

_FIT_SIDE, _FIT_RATE = 64, 0.08  # pixels of the low-resolution picture that is fitted, and Adam's learning rate
_FIT_STEPS = (8, 14)  # more steps change little
_WITH_WAVES = range(32, 257)  # sides of the noise maps that get structure


def uniform(random: Random, low: float, high: float) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=random))


def chance(random: Random, share: float) -> bool:
    """True with the probability `share`."""
    return uniform(random, 0, 1) < share


def pick(random: Random, count: int) -> int:
    """A whole number in 0 .. count - 1."""
    return int(torch.randint(count, (), generator=random))


def sample_latent(generator: Generator, random: Random) -> tuple[Tensor, list[Tensor]]:
    """A natural latent: ws [1, num_ws, w_dim] and random noise maps; the last map is zero half of the time."""
    z = torch.randn(1, generator.z_dim, generator=random)
    with torch.no_grad():
        ws = generator.mapping(z, None, truncation_psi=uniform(random, 0.6, 1.0))
    noise = [torch.randn(1, 1, *shape, generator=random) for shape in generator.noise_shapes]
    if chance(random, 0.5):
        noise[-1] = torch.zeros_like(noise[-1])
    return ws, noise


def rendered(generator: Generator, ws: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """[3, H, W] in 0..1."""
    with torch.no_grad():
        return to_picture(generator.synthesis(ws, noise=noise))[0].clamp(0, 1)


# Corruptions of latents


def style_offsets(fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random) -> tuple[Tensor, list[Tensor]]:
    """Adds an offset of its own, in whitened space, to each layer of a range."""
    whitened, layers = fit.whiten(ws), ws.shape[1]
    first, count = pick(random, layers - 4), layers // 3 + pick(random, layers)
    strength = math.exp(uniform(random, math.log(1.2), math.log(3.0)))
    steps = torch.randn(whitened.shape, generator=random) * strength
    steps[:, :first] = 0
    steps[:, first + count :] = 0
    return fit.colour(whitened + steps), noise


def independent_styles(
    fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random
) -> tuple[Tensor, list[Tensor]]:
    """Blends in independent styles per layer, without covariance, as the published search initialises them."""
    free = fit.to_ws(torch.randn(ws.shape, generator=random) * uniform(random, 0.6, 1.1))
    return ws.lerp(free, uniform(random, 0.6, 1.0)), noise


def structured_noise(
    fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random
) -> tuple[Tensor, list[Tensor]]:
    """Noise maps that are too strong or correlated: blotches, lattices and stripes, as in maps that draw residuals."""
    lattice, louder = chance(random, 0.5), math.exp(uniform(random, math.log(3), math.log(12)))
    changed = []
    for map_ in noise:
        side = map_.shape[-1]
        if chance(random, 0.3) or side not in _WITH_WAVES:
            changed.append(map_)
        elif lattice:
            changed.append(map_ + louder * waves_of(side, random))
        else:
            smooth = F.interpolate(
                torch.randn(1, 1, side // 4, side // 4, generator=random), size=(side, side), mode="bicubic"
            )
            changed.append(louder * map_ if chance(random, 0.5) else map_ + louder * smooth)
    return ws, changed


def fitted(
    generator: Generator, fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random
) -> tuple[Tensor, list[Tensor]]:
    """Styles and small noise maps, fitted without a prior to a picture that the generator cannot draw."""
    whitened = fit.whiten(ws).clone().requires_grad_()
    maps = [each.clone().requires_grad_(each.shape[-1] <= _FIT_SIDE) for each in noise]
    natural = _low_resolution(generator, fit, whitened, maps).detach()
    target = background(natural.shape[-1], random)
    moving = [whitened, *(each for each in maps if each.requires_grad)]
    optimizer = torch.optim.Adam(moving, lr=uniform(random, 0.5, 1.5) * _FIT_RATE)
    shown = 1 - uniform(random, 0.2, 0.8) * (1 - face_mask(natural.shape[-1], uniform(random, 0.5, 1.1)))
    target = natural * shown + target * (1 - shown)
    for _ in range(_FIT_STEPS[0] + pick(random, _FIT_STEPS[1] - _FIT_STEPS[0])):
        loss = (_low_resolution(generator, fit, whitened, maps) - target).square().mean()
        gradients = torch.autograd.grad(loss, moving)
        for variable, gradient in zip(moving, gradients, strict=True):
            variable.grad = gradient
        optimizer.step()
    return fit.colour(whitened.detach()), [each.detach() for each in maps]


def _low_resolution(generator: Generator, fit: LatentGaussian, whitened: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """[1, 3, S, S] in about 0..1, S half of _FIT_SIDE or of the generator's size."""
    image = to_picture(generator.synthesis.render_low_resolution(fit.colour(whitened), noise, _FIT_SIDE))
    return F.avg_pool2d(image, 2)


# Patterns


def waves_of(side: int, random: Random) -> Tensor:
    """Waves [1, 1, side, side] in -1..1 of 2 to 6 pixels, in one or two directions."""
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")

    def wave() -> Tensor:
        turn, length = uniform(random, 0, math.pi), uniform(random, 2.0, 6.0)
        return torch.sin(2 * math.pi / length * (x * math.cos(turn) + y * math.sin(turn)) + uniform(random, 0, 6))

    lattice = wave() * wave() if chance(random, 0.5) else wave()
    return lattice[None, None]


def background(side: int, random: Random) -> Tensor:
    """A synthetic background [1, 3, side, side] in 0..1: stripes, coloured squares, or grain."""
    colours = torch.rand(2, 3, 1, 1, generator=random)
    kind = pick(random, 3)
    if kind == 0:
        shares = waves_of(side, random) / 2 + 0.5
    else:
        cells = side if kind == 1 else 4 + pick(random, side // 2)
        shares = F.interpolate(torch.rand(1, 1, cells, cells, generator=random), size=(side, side)).round()
    return colours[:1] * shares + colours[1:] * (1 - shares)


def face_mask(side: int, size: float = 1.0) -> Tensor:
    """[1, 1, side, side]: 1 inside the ellipse of a face aligned as FFHQ, falling smoothly to 0 outside."""
    place = (torch.arange(side) + 0.5) / side
    radius = (((place[None] - 0.5) / (0.36 * size)) ** 2 + ((place[:, None] - 0.53) / (0.47 * size)) ** 2).sqrt()
    return torch.sigmoid((1 - radius) * 12)[None, None]


# Corruptions of pixels: [3, S, S] in 0..1 -> the same. `scale`: the factor by which the picture of a patch was
# downscaled.

CELLS = (64, 32, 32, 16)  # pixels of the picture per pixel of the input


def blotches(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Adds a random low-resolution residual, smoothly enlarged."""
    low = _low(image, random, scale)
    channels = 3 if chance(random, 0.5) else 1
    residual = uniform(random, 0.03, 0.1) * torch.randn(1, channels, low, low, generator=random)
    return (image + resized(residual, image.shape[-1], "bicubic")[0]).clamp(0, 1)


def rings(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Corrects towards a shifted copy at low resolution: rings and halos along edges."""
    low, side = _low(image, random, scale), image.shape[-1]
    most = side // low
    shifted = torch.roll(image, [most // 4 + pick(random, most), most // 4 + pick(random, most)], (1, 2))
    if chance(random, 0.3):
        shifted = shifted.flip(2)
    residual = F.interpolate((shifted - image)[None], size=(low, low), mode="bicubic", antialias=True)
    sharp = sharpened(residual) if chance(random, 0.6) else residual
    mode = ("bicubic", "bicubic", "nearest-exact", "bilinear")[pick(random, 4)]
    return (image + uniform(random, 0.7, 1.3) * resized(sharp, side, mode)[0]).clamp(0, 1)


def _low(image: Tensor, random: Random, scale: int) -> int:
    """The size of the input, or of the part of it under a patch."""
    return max(2, image.shape[-1] * scale // CELLS[pick(random, len(CELLS))])


def sharpened(x: Tensor) -> Tensor:
    """Sharpened more than the inverse of bicubic downsampling needs, as exact corrections are."""
    return x + 0.6 * (x - F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "replicate"), 3, 1))


def blurred_out(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Removes the finest details, in part or completely."""
    side = image.shape[-1]
    low = max(4, round(side / math.exp(uniform(random, math.log(2.5), math.log(max(4, 24 // scale))))))
    small = F.interpolate(image[None], size=(low, low), mode="bicubic", antialias=True)
    return image.lerp(resized(small, side, "bicubic")[0].clamp(0, 1), uniform(random, 0.7, 1.0))


def blocks(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Strong JPEG compression."""
    return compressed(image, 5 + pick(random, 20))


def wavy(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Adds fine waves whose strength varies over the picture."""
    side = image.shape[-1]
    waves = resized(waves_of(side // (1 + pick(random, 4)), random), side, "bicubic")
    places = resized(0.6 + torch.randn(1, 1, 5, 5, generator=random), side, "bicubic").clamp(0, 1)
    return (image + uniform(random, 0.03, 0.15) * (waves * places)[0]).clamp(0, 1)


def grainy(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Adds elongated grain, stronger where it is bright, as from noise maps that draw a residual on skin."""
    side = image.shape[-1]
    size = [side // (1 + pick(random, 8)) for _ in range(2)]
    grain = torch.randn(1, 1, *size, generator=random)
    spots = F.interpolate(grain, size=(side, side), mode="bicubic")[0]
    return (image + uniform(random, 0.03, 0.12) * spots * (0.3 + image.mean(0, keepdim=True))).clamp(0, 1)


def resized(x: Tensor, side: int, mode: str) -> Tensor:
    """[1, C, h, w] -> [1, C, side, side]."""
    return F.interpolate(x, size=(side, side), mode=mode)


def compressed(image: Tensor, quality: int) -> Tensor:
    """After JPEG compression."""
    file = io.BytesIO()
    to_pil(image).save(file, format="JPEG", quality=quality)
    return from_pil(Image.open(file))


PIXEL_CORRUPTIONS = (rings, blotches, blurred_out, wavy, grainy, rings, blocks)
FITTED_EVERY = 8  # seeds, as a fit takes as long as ten pictures
LATENT_CORRUPTIONS = (style_offsets, structured_noise, independent_styles)


def augmented(image: Tensor, random: Random) -> Tensor:
    """Augmentation that photographs differ in: size, brightness, colours, grain and light compression.

    Both classes get it, so that it does not help to separate them.
    """
    side = round(image.shape[-1] * uniform(random, 0.7, 1.0))
    image = F.interpolate(image[None], size=(side, side), mode="bicubic", antialias=True)[0].clamp(0, 1)
    grey = image.mean(0, keepdim=True)
    image = grey + (image - grey) * uniform(random, 0.5, 1.4)
    image = (image * uniform(random, 0.85, 1.15)).clamp(0, 1) ** math.exp(uniform(random, -0.4, 0.4))
    blurred = F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), "replicate"), 3, 1)[0]
    image = image + (image - blurred) * uniform(random, -0.5, 0.8)
    image = (image + torch.randn(image.shape, generator=random) * uniform(random, 0, 0.01)).clamp(0, 1)
    if chance(random, 0.5):
        image = image.flip(2)
    return compressed(image, 86 + pick(random, 12)) if chance(random, 0.7) else image


def pictures_of_seed(generator: Generator, fit: LatentGaussian, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """One natural picture, and two corrupted ones (latents, pixels), [3, S, S] in 0..1 each; S varies.

    They depend only on the seed and the generator.
    """
    random = torch.Generator().manual_seed(seed)
    ws, noise = sample_latent(generator, random)
    image = rendered(generator, ws, noise)
    if seed % FITTED_EVERY == 0:
        from_latents = rendered(generator, *fitted(generator, fit, ws, noise, random))
    else:
        from_latents = rendered(generator, *LATENT_CORRUPTIONS[seed % 3](fit, ws, noise, random))
    corrupted = PIXEL_CORRUPTIONS[seed % len(PIXEL_CORRUPTIONS)](image, random)
    if chance(random, 0.2):
        from_latents = PIXEL_CORRUPTIONS[pick(random, len(PIXEL_CORRUPTIONS))](from_latents, random)
    return [augmented(image, random)], [
        augmented(each.reshape(image.shape), random) for each in (from_latents, corrupted)
    ]
