"""Whatever torch's defaults are in the program that calls, a public function gives the same."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_tiny
from torch import Tensor

import pulse_core
from pulse_core.defaults import defaults, own_defaults


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def all_of(*contexts: AbstractContextManager[Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


FOREIGN: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64, the meta device, inference_mode and autocast": lambda: all_of(
        default_dtype(torch.float64),
        default_device("meta"),
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
    ),
    "float16 and no_grad": lambda: all_of(default_dtype(torch.float16), torch.no_grad()),
    "inside a meta device": lambda: torch.device("meta"),
}


class Given:
    """What the calls below are given; made under torch's own defaults."""

    def __init__(self, folder: Any):
        self.folder = folder
        self.picture, self.checkpoint = folder / "in.png", save_tiny(folder / "tiny.safetensors")
        self.generator = pulse_core.load_generator(self.checkpoint)
        self.fit = pulse_core.fit_gaussian(self.generator, 500)
        random = torch.Generator().manual_seed(3)
        self.face, _ = next(pulse_core.sample(self.generator, [5]))
        self.small = pulse_core.downsample(self.face, factor=4)
        self.large, self.z = torch.rand(3, 40, 40, generator=random), torch.randn(1, 16, generator=random)
        self.config = pulse_core.SearchConfig(steps=3, full_every=2)
        self.published = replace(pulse_core.PRESETS["published"], steps=4)
        self.solutions = pulse_core.search(self.generator, self.small, self.fit, self.config)
        self.latent = pulse_core.latent_from_solutions(self.solutions, self.generator, [{}])
        pulse_core.save_image(self.face, self.picture)
        self.latent.save(folder / "x.latent.safetensors")
        self.degradation = pulse_core.parse_degradation("blur(1.2) + motion(3, 20) + jpeg(40) + noise(0.1) + grey")

    def saved(self, save: Callable[[Any], Any]) -> Tensor:
        save(self.folder / "out.png")
        return pulse_core.read_image(self.folder / "out.png")

    def degraded(self) -> list[Tensor]:
        """All of a degradation's operators."""
        x, a = self.large[None], self.degradation
        given = [a.forward(x), a.apply(x, torch.Generator().manual_seed(1)), a.project(x), a.noise_variance(x)]
        mask = pulse_core.parse_degradation(f"mask({self.picture})").weight_map(x)
        assert mask is not None
        return [*given, mask]

    def fitted(self) -> list[Tensor]:
        """What a fit computes."""
        ws = self.latent.ws
        fresh = pulse_core.LatentGaussian(self.fit.mean, self.fit.std)
        white = self.fit.whiten(ws)
        return [white, self.fit.colour(white), self.fit.distance(ws), *fresh.axes, self.fit.to_ws(ws)]

    def rendered(self) -> list[Tensor]:
        """A generator's own calls, those of G_ema."""
        ws = self.generator.mapping(self.z, None, truncation_psi=0.5)
        return [ws, self.generator.synthesis(ws)]


CALLS: dict[str, Callable[[Given], Any]] = {
    "upscale": lambda it: pulse_core.upscale(it.picture, it.generator, it.fit, it.config, lr_size=8),
    "Target": lambda it: pulse_core.Target(it.small, 8.0),
    "choose_targets": lambda it: pulse_core.choose_targets([it.face], it.generator),
    "search_targets": lambda it: list(
        pulse_core.search_targets([pulse_core.Target(it.small, 8.0)], it.generator, it.fit, it.config)
    ),
    "load_with_fit": lambda it: pulse_core.load_with_fit(it.checkpoint, it.fit)[0].synthesis(it.latent.ws),
    "restore": lambda it: pulse_core.restore(it.face, it.generator, it.fit, it.config, require_face=False),
    "Restored": lambda it: pulse_core.restore(it.picture, it.generator, it.fit, it.config, require_face=False).picture,
    "FaceStore": lambda it: pulse_core.FaceStore().has(0, pulse_core.Target(it.small, 8.0)),
    "read_image": lambda it: pulse_core.read_image(it.picture),
    "save_image": lambda it: it.saved(lambda path: pulse_core.save_image(it.face, path)),
    "SearchConfig": lambda it: pulse_core.SearchConfig(steps=3),
    "PRESETS": lambda it: pulse_core.PRESETS,
    "Solution": lambda it: it.solutions[0].metadata(0.1),
    "StepState": lambda it: steps_of(it),
    "search": lambda it: pulse_core.search(it.generator, it.small, it.fit, it.config, seed=4),
    "iter_search": lambda it: list(pulse_core.iter_search(it.generator, it.small, it.fit, it.published)),
    "load_generator": lambda it: dict(pulse_core.load_generator(it.checkpoint).state_dict()),
    "save_generator": lambda it: (
        pulse_core.load_generator(pulse_core.save_generator(it.generator, it.folder / "again.safetensors")).content_hash
    ),
    "Generator": lambda it: it.rendered(),
    "gaussian_for": lambda it: pulse_core.gaussian_for(
        pulse_core.load_generator(it.checkpoint), samples=300, cache=it.folder / "never" / str(id(object()))
    ),
    "LatentGaussian": lambda it: it.fitted(),
    "fit_gaussian": lambda it: pulse_core.fit_gaussian(it.generator, 300),
    "Latent": lambda it: pulse_core.Latent.load(it.folder / "x.latent.safetensors"),
    "latent_from_solutions": lambda it: pulse_core.latent_from_solutions(it.solutions, it.generator, [{}]),
    "sample": lambda it: list(pulse_core.sample(it.generator, [1, 2], 0.7)),
    "synthesize": lambda it: list(pulse_core.synthesize(it.generator, it.latent)),
    "blend": lambda it: pulse_core.blend(it.latent, it.latent, 0.3, frames=3),
    "Degradation": lambda it: it.degraded(),
    "downsample": lambda it: pulse_core.downsample(it.face, size=(7, 5)),
    "parse_degradation": lambda it: pulse_core.parse_degradation("area(8) + blur(2)").forward(it.face[None]),
    "estimate_degradation": lambda it: pulse_core.estimate_degradation(it.large),
    "DegradationEstimate": lambda it: pulse_core.estimate_degradation(it.large).metadata,
    "FindSettings": lambda it: pulse_core.FindSettings(),
    "PasteSettings": lambda it: pulse_core.PasteSettings(),
    "PulseError": lambda it: str(pulse_core.PulseError("a", "b", "c")),
}


def steps_of(it: Given) -> list[Any]:
    """The states of a search, copied."""
    seen: list[Any] = []
    pulse_core.search(it.generator, it.small, it.fit, it.config, on_step=lambda state: seen.append(plain(state)))
    return seen


def plain(value: Any) -> Any:
    """Values without tensors, to compare."""
    if isinstance(value, Tensor):
        numbers = value.detach().clone().contiguous().numpy().tobytes()  # a digest: differences of lists take hours
        return f"{value.dtype} {value.device} {list(value.shape)} {hashlib.sha256(numbers).hexdigest()[:16]}"
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Given:
    return Given(tmp_path_factory.mktemp("defaults"))


def test_every_public_name_is_called():
    assert set(CALLS) == set(pulse_core.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_foreign_defaults_change_nothing(given, name):
    expected = plain(CALLS[name](given))
    for foreign, enter in FOREIGN.items():
        with enter():
            result = CALLS[name](given)
            state = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        with enter():
            assert state == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        assert plain(result) == expected, f"{name} under {foreign}"


def test_inputs_that_were_made_in_inference_mode_are_accepted(given):
    with torch.inference_mode():
        small, mean, ws = given.small.clone(), given.fit.mean.clone(), given.latent.ws.clone()
        fit = pulse_core.LatentGaussian(mean, given.fit.std.clone(), given.fit.covariance.clone())
        found = pulse_core.search(given.generator, small, fit, given.config)
        again = pulse_core.search(
            given.generator, small, fit, given.config, init_latent=pulse_core.Latent(ws, given.latent.noise)
        )
    assert torch.equal(found[0].image, given.solutions[0].image)
    assert not found[0].image.is_inference()
    assert again[0].image.shape == found[0].image.shape


def test_between_two_solutions_the_defaults_are_the_callers(given):
    with default_dtype(torch.float64), torch.no_grad():
        for _ in pulse_core.sample(given.generator, [1, 2]):
            assert torch.get_default_dtype() is torch.float64
            assert not torch.is_grad_enabled()
    for _ in pulse_core.synthesize(given.generator, given.latent):
        assert torch.is_grad_enabled()


def test_an_error_restores_the_defaults():
    @own_defaults
    def fail() -> None:
        assert torch.get_default_dtype() is torch.float32
        raise KeyError

    with default_dtype(torch.float64), torch.inference_mode():
        with pytest.raises(KeyError):
            fail()
        assert torch.get_default_dtype() is torch.float64
        assert torch.is_inference_mode_enabled()


def test_two_users_at_once_leave_the_defaults_as_they_were():
    with default_dtype(torch.float64):
        first, second = defaults(), defaults()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() is torch.float32, "the second still needs it"
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() is torch.float64


def test_gradients_still_pass_through_what_is_differentiable(given):
    x = given.face[None].clone().requires_grad_()
    given.degradation.forward(pulse_core.downsample(x, factor=2)).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        assert not pulse_core.downsample(x, factor=2).requires_grad


def test_public_functions_keep_their_signatures():
    for name in ("upscale", "search", "iter_search", "restore", "sample", "downsample"):
        assert len(inspect.signature(getattr(pulse_core, name)).parameters) >= 3
    assert inspect.isgeneratorfunction(pulse_core.iter_search)


# Pictures of other libraries


def eight_bit(face: Tensor) -> np.ndarray:
    return (face * 255).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("kind", ["PIL", "uint8", "float", "path", "batch", "uint16"])
def test_arrays_and_pil_images_are_pictures(given, kind):
    levels = eight_bit(given.small)
    Image.fromarray(levels).save(given.folder / "small.png")
    floats = levels.astype(np.float64) / 255
    picture = {
        "PIL": Image.fromarray(levels),
        "uint8": levels,
        "float": floats,
        "path": given.folder / "small.png",
        "batch": levels[None],
        "uint16": levels.astype(np.uint16) * 257,
    }[kind]
    expected = pulse_core.upscale(given.folder / "small.png", given.generator, given.fit, given.config)[0].image
    found = pulse_core.upscale(picture, given.generator, given.fit, given.config)[0].image
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    if kind != "path":
        (solution,) = pulse_core.search(given.generator, picture, given.fit, given.config)
        torch.testing.assert_close(solution.image, expected, atol=1e-5, rtol=0)


def test_each_function_that_takes_a_picture_takes_arrays(given):
    levels = eight_bit(given.large)
    tensor = torch.from_numpy(levels).permute(2, 0, 1) / 255
    for picture in (levels, Image.fromarray(levels)):
        torch.testing.assert_close(pulse_core.downsample(picture, factor=2), pulse_core.downsample(tensor, factor=2))
        assert pulse_core.estimate_degradation(picture) == pulse_core.estimate_degradation(tensor)
        torch.testing.assert_close(given.saved(lambda path, it=picture: pulse_core.save_image(it, path)), tensor)
        torch.testing.assert_close(pulse_core.Target(picture, 1.0).picture, tensor)
        torch.testing.assert_close(
            pulse_core.choose_targets([picture], given.generator, 8)[0].picture,
            pulse_core.choose_targets([tensor], given.generator, 8)[0].picture,
        )


def test_a_pil_image_is_turned_upright_and_converted(given, tmp_path):
    levels = eight_bit(given.large)[:, :24]
    turned = Image.fromarray(levels)
    turned.getexif()[0x0112] = 6
    found = pulse_core.Target(turned, 1.0).picture
    assert found.shape == (3, 24, 40)
    turned.save(tmp_path / "turned.jpg", quality=95)
    with Image.open(tmp_path / "turned.jpg") as file:
        torch.testing.assert_close(pulse_core.Target(file, 1.0).picture, pulse_core.read_image(tmp_path / "turned.jpg"))


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"\[3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8, 3), object), "object"),
        (np.zeros(8), r"\[8\]"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.full((8, 8, 3), 255.0), "255"),
        ({"a": 1}, "dict"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_told(given, picture, found):
    with pytest.raises(pulse_core.PulseError, match=found):
        pulse_core.upscale(picture, given.generator, given.fit, given.config)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_restore_keeps_grey_alpha_and_batches(given, channels):
    batch = torch.rand(2, channels, 20, 30, generator=torch.Generator().manual_seed(0))
    arguments = (given.generator, given.fit, given.config)
    alone = [pulse_core.restore(photo, *arguments, require_face=False) for photo in batch]
    together = pulse_core.restore(batch, *arguments, require_face=False)
    assert together.picture.shape == (2, 4 if channels in (2, 4) else 3, 20, 30)
    assert together.invented.shape == (2, 20, 30)
    colours = batch[:, : channels - (channels in (2, 4))].expand(-1, 3, -1, -1)
    assert torch.equal(together.picture[:, :3], colours)
    if channels in (2, 4):
        assert torch.equal(together.picture[:, 3], batch[:, -1])
    for one, picture in zip(alone, together.picture, strict=True):
        assert torch.equal(one.picture, picture)
    arrays = pulse_core.restore(batch.movedim(1, -1).numpy(), *arguments, require_face=False)
    assert torch.equal(arrays.picture, together.picture)
    with pytest.raises(pulse_core.PulseError, match=r"\[3, 3, 20, 30, 1\]"):
        pulse_core.restore(torch.zeros(3, 3, 20, 30, 1), *arguments)
