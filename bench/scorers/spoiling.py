"""Natural draws of a generator and pictures that were spoiled on purpose: what the judge of `realism.py` learns from.

Each spoiler imitates a fault of a search: styles that left what the generator knows, noise maps that draw the
residual, latents fitted to what is no face, corrections that ring along edges or show as blotches, blur and blocks.
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

_FIT_SIDE, _FIT_RATE = 64, 0.08  # pixels of the coarse picture that is fitted, and Adam's step
_FIT_STEPS = (8, 14)  # more only costs time
_HATCHED = range(32, 257)  # sides of the noise maps that a lattice is laid over


def uniform(random: Random, low: float, high: float) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=random))


def chance(random: Random, share: float) -> bool:
    """True with the probability `share`."""
    return uniform(random, 0, 1) < share


def pick(random: Random, count: int) -> int:
    """A whole number in 0 .. count - 1."""
    return int(torch.randint(count, (), generator=random))


def draw(generator: Generator, random: Random) -> tuple[Tensor, list[Tensor]]:
    """A natural latent: ws [1, num_ws, w_dim], and fresh noise maps, the last one empty half of the time."""
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


# Spoiled before they are rendered.


def loose_styles(fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random) -> tuple[Tensor, list[Tensor]]:
    """Each of a run of layers leaves the common style by a step of its own in whitened space."""
    white, layers = fit.whiten(ws), ws.shape[1]
    first, count = pick(random, layers - 4), layers // 3 + pick(random, layers)
    strength = math.exp(uniform(random, math.log(1.2), math.log(3.0)))
    steps = torch.randn(white.shape, generator=random) * strength
    steps[:, :first] = 0
    steps[:, first + count :] = 0
    return fit.colour(white + steps), noise


def independent_styles(
    fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random
) -> tuple[Tensor, list[Tensor]]:
    """A style a layer from dimensions taken as independent, as the published search begins; partly the draw's own."""
    free = fit.to_ws(torch.randn(ws.shape, generator=random) * uniform(random, 0.6, 1.1))
    return ws.lerp(free, uniform(random, 0.6, 1.0)), noise


def wrong_noise(fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random) -> tuple[Tensor, list[Tensor]]:
    """Noise maps too strong, or correlated: blotches, lattices and stripes, as maps are that draw a residual."""
    lattice, louder = chance(random, 0.5), math.exp(uniform(random, math.log(3), math.log(12)))
    changed = []
    for map_ in noise:
        side = map_.shape[-1]
        if chance(random, 0.3) or side not in _HATCHED:
            changed.append(map_)
        elif lattice:
            changed.append(map_ + louder * hatching(side, random))
        else:
            smooth = F.interpolate(
                torch.randn(1, 1, side // 4, side // 4, generator=random), size=(side, side), mode="bicubic"
            )
            changed.append(louder * map_ if chance(random, 0.5) else map_ + louder * smooth)
    return ws, changed


def fitted(
    generator: Generator, fit: LatentGaussian, ws: Tensor, noise: list[Tensor], random: Random
) -> tuple[Tensor, list[Tensor]]:
    """Styles and small noise maps that were fitted, without any prior, to what the generator cannot draw."""
    white = fit.whiten(ws).clone().requires_grad_()
    maps = [each.clone().requires_grad_(each.shape[-1] <= _FIT_SIDE) for each in noise]
    own = _coarse(generator, fit, white, maps).detach()
    target = clutter(own.shape[-1], random)
    moving = [white, *(each for each in maps if each.requires_grad)]
    optimizer = torch.optim.Adam(moving, lr=uniform(random, 0.5, 1.5) * _FIT_RATE)
    shown = 1 - uniform(random, 0.2, 0.8) * (1 - face_mask(own.shape[-1], uniform(random, 0.5, 1.1)))
    target = own * shown + target * (1 - shown)
    for _ in range(_FIT_STEPS[0] + pick(random, _FIT_STEPS[1] - _FIT_STEPS[0])):
        loss = (_coarse(generator, fit, white, maps) - target).square().mean()
        gradients = torch.autograd.grad(loss, moving)
        for variable, gradient in zip(moving, gradients, strict=True):
            variable.grad = gradient
        optimizer.step()
    return fit.colour(white.detach()), [each.detach() for each in maps]


def _coarse(generator: Generator, fit: LatentGaussian, white: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """[1, 3, S, S] in about 0..1, S half of _FIT_SIDE or of the generator's own side."""
    image = to_picture(generator.synthesis.render_low_resolution(fit.colour(white), noise, _FIT_SIDE))
    return F.avg_pool2d(image, 2)


# Patterns.


def hatching(side: int, random: Random) -> Tensor:
    """Waves across a map [1, 1, side, side] in -1..1, of one or two directions, two to six pixels long."""
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")

    def wave() -> Tensor:
        turn, length = uniform(random, 0, math.pi), uniform(random, 2.0, 6.0)
        return torch.sin(2 * math.pi / length * (x * math.cos(turn) + y * math.sin(turn)) + uniform(random, 0, 6))

    lattice = wave() * wave() if chance(random, 0.5) else wave()
    return lattice[None, None]


def clutter(side: int, random: Random) -> Tensor:
    """What may stand behind a head [1, 3, side, side] in 0..1: stripes, squares of colours, or grain."""
    colours = torch.rand(2, 3, 1, 1, generator=random)
    kind = pick(random, 3)
    if kind == 0:
        shares = hatching(side, random) / 2 + 0.5
    else:
        cells = side if kind == 1 else 4 + pick(random, side // 2)
        shares = F.interpolate(torch.rand(1, 1, cells, cells, generator=random), size=(side, side)).round()
    return colours[:1] * shares + colours[1:] * (1 - shares)


def face_mask(side: int, size: float = 1.0) -> Tensor:
    """[1, 1, side, side]: about 1 in the face of a picture aligned as FFHQ, falling to 0 outside an ellipse."""
    place = (torch.arange(side) + 0.5) / side
    away = (((place[None] - 0.5) / (0.36 * size)) ** 2 + ((place[:, None] - 0.53) / (0.47 * size)) ** 2).sqrt()
    return torch.sigmoid((1 - away) * 12)[None, None]


# Spoiled as pictures: [3, S, S] in 0..1 -> the same. A patch of a picture made smaller by `scale` is spoiled as that
# picture would be.

CELLS = (64, 32, 32, 16)  # pixels of the picture to a pixel of the input


def blotches(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """A low-resolution residual without any sense, added smoothly."""
    low = _low(image, random, scale)
    channels = 3 if chance(random, 0.5) else 1
    residual = uniform(random, 0.03, 0.1) * torch.randn(1, channels, low, low, generator=random)
    return (image + enlarged(residual, image.shape[-1], "bicubic")[0]).clamp(0, 1)


def rings(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Corrected towards a moved copy of itself at a low resolution: combs, rings and halos along the outlines."""
    low, side = _low(image, random, scale), image.shape[-1]
    most = side // low
    moved = torch.roll(image, [most // 4 + pick(random, most), most // 4 + pick(random, most)], (1, 2))
    if chance(random, 0.3):
        moved = moved.flip(2)
    residual = F.interpolate((moved - image)[None], size=(low, low), mode="bicubic", antialias=True)
    sharp = sharpened(residual) if chance(random, 0.6) else residual
    mode = ("bicubic", "bicubic", "nearest-exact", "bilinear")[pick(random, 4)]
    return (image + uniform(random, 0.7, 1.3) * enlarged(sharp, side, mode)[0]).clamp(0, 1)


def _low(image: Tensor, random: Random, scale: int) -> int:
    """The side that the input has, or a patch of it."""
    return max(2, image.shape[-1] * scale // CELLS[pick(random, len(CELLS))])


def sharpened(x: Tensor) -> Tensor:
    """More than the bicubic kernel's inverse asks for, as corrections that agree with each pixel do."""
    return x + 0.6 * (x - F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "replicate"), 3, 1))


def softened(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Without its finest details, in part or wholly."""
    side = image.shape[-1]
    low = max(4, round(side / math.exp(uniform(random, math.log(2.5), math.log(max(4, 24 // scale))))))
    small = F.interpolate(image[None], size=(low, low), mode="bicubic", antialias=True)
    return image.lerp(enlarged(small, side, "bicubic")[0].clamp(0, 1), uniform(random, 0.7, 1.0))


def blocks(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Heavily compressed."""
    return compressed(image, 5 + pick(random, 20))


def woven(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Fine waves laid over skin, hair and background, here more and there less."""
    side = image.shape[-1]
    waves = enlarged(hatching(side // (1 + pick(random, 4)), random), side, "bicubic")
    places = enlarged(0.6 + torch.randn(1, 1, 5, 5, generator=random), side, "bicubic").clamp(0, 1)
    return (image + uniform(random, 0.03, 0.15) * (waves * places)[0]).clamp(0, 1)


def mottled(image: Tensor, random: Random, scale: int = 1) -> Tensor:
    """Grain of longish spots, as noise maps leave that draw a residual; more where it is bright, as on skin."""
    side = image.shape[-1]
    size = [side // (1 + pick(random, 8)) for _ in range(2)]
    grain = torch.randn(1, 1, *size, generator=random)
    spots = F.interpolate(grain, size=(side, side), mode="bicubic")[0]
    return (image + uniform(random, 0.03, 0.12) * spots * (0.3 + image.mean(0, keepdim=True))).clamp(0, 1)


def enlarged(x: Tensor, side: int, mode: str) -> Tensor:
    """[1, C, h, w] -> [1, C, side, side]; the batch axis is kept."""
    return F.interpolate(x, size=(side, side), mode=mode)


def compressed(image: Tensor, quality: int) -> Tensor:
    """Through a JPEG file."""
    file = io.BytesIO()
    to_pil(image).save(file, format="JPEG", quality=quality)
    return from_pil(Image.open(file))


OF_PICTURES = (rings, blotches, softened, woven, mottled, rings, blocks)
FITTED_EVERY = 8  # families: a fit takes as long as ten pictures
OF_LATENTS = (loose_styles, wrong_noise, independent_styles)


def photographed(image: Tensor, random: Random) -> Tensor:
    """As photographs differ among themselves, which tells nothing: size, light, colours, grain and light compression.

    Both classes go through it, so that none of it gives a class away.
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


def family(generator: Generator, fit: LatentGaussian, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """What one latent gives: a natural picture and two spoiled ones, [3, S, S] in 0..1 each; S varies.

    The same seed gives the same pictures.
    """
    random = torch.Generator().manual_seed(seed)
    ws, noise = draw(generator, random)
    image = rendered(generator, ws, noise)
    if seed % FITTED_EVERY == 0:
        bad = rendered(generator, *fitted(generator, fit, ws, noise, random))
    else:
        bad = rendered(generator, *OF_LATENTS[seed % 3](fit, ws, noise, random))
    painted = OF_PICTURES[seed % len(OF_PICTURES)](image, random)
    if chance(random, 0.2):
        bad = OF_PICTURES[pick(random, len(OF_PICTURES))](bad, random)
    return [photographed(image, random)], [photographed(each.reshape(image.shape), random) for each in (bad, painted)]
