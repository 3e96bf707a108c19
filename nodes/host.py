"""The interface to the host: devices, gradients, memory, progress, previews, the interrupt button.

No other file imports comfy.*; folders.py has the host's folders.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import comfy.cli_args
import comfy.model_management
import comfy.model_patcher
import comfy.utils
import torch
from comfy_api.latest import ui
from server import PromptServer
from torch import Tensor, nn

from ..pulse_core.defaults import defaults
from ..pulse_core.errors import SettingError
from ..pulse_core.faces.face import Faces
from ..pulse_core.generators import Generator
from ..pulse_core.generators.foreign import adapt
from ..pulse_core.generators.working_memory import render_memory, search_memory
from ..pulse_core.interrupts import interruptible
from ..pulse_core.latents.latent import Latent
from ..pulse_core.limits import FLOAT, check_bytes
from ..pulse_core.pictures.images import check_colours, to_pil, to_rgb

if TYPE_CHECKING:
    from ..pulse_core.latent_search.solution import StepState

T = TypeVar("T")
PREVIEW_SIDE = 512
_TEXT_EVERY = 0.2  # seconds between texts on the node during a search
_HANDLE = "pulse_handle"  # the attribute of a generator that holds its patcher
_WHOLE = "pulse_latent"  # the attribute of a STYLEGAN_LATENT tensor that holds the rest of the latent


@contextmanager
def gradients() -> Iterator[None]:
    """Leaves inference mode, in which ComfyUI runs nodes and which has no gradients, and other packs' torch defaults.

    The interrupt button ends the loops of pulse_core inside the block. Tensors from outside are still inference
    tensors: pass inputs through `plain`.
    """
    with defaults(), interruptible(check_interrupt):
        yield


def check_interrupt() -> None:
    """Raises if the user pressed the interrupt button."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def plain(tensor: Tensor) -> Tensor:
    """A copy that is no inference tensor; call it inside `gradients()`."""
    return tensor.detach().clone()


@dataclass
class _Handle:
    """Holds a generator's patcher. A deep copy of the generator, as projectors make it, gets none."""

    patcher: comfy.model_patcher.ModelPatcher

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None


def patcher_of(generator: Generator) -> comfy.model_patcher.ModelPatcher:
    """The patcher by which ComfyUI's memory management knows the generator; made when first needed.

    It is kept as an attribute of the generator. A patcher refers to its generator, so a WeakKeyDictionary would keep
    both alive forever.
    """
    handle = getattr(generator, _HANDLE, None)
    if handle is None:
        load, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        handle = _Handle(comfy.model_patcher.ModelPatcher(generator, load, offload))
        setattr(generator, _HANDLE, handle)
    patcher: comfy.model_patcher.ModelPatcher = handle.patcher
    return patcher


# Wrappers of other packs' generators, as long as those live.
_WRAPPED: WeakKeyDictionary[nn.Module, Generator] = WeakKeyDictionary()


def known(stylegan: Any) -> Generator:
    """The generator on a STYLEGAN input, ours or another pack's; call it inside `gradients()`.

    Raises:
        SettingError: the object does not have the interface of a generator.
    """
    if isinstance(stylegan, Generator) or not isinstance(stylegan, nn.Module):
        return adapt(stylegan)
    if stylegan not in _WRAPPED:
        _own_weights(stylegan)
        _WRAPPED[stylegan] = adapt(stylegan)
    return _WRAPPED[stylegan]


def _own_weights(module: nn.Module) -> None:
    """Replaces weights that are inference tensors by copies: no gradient can pass through inference tensors."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_inference():
                part.register_parameter(name, nn.Parameter(plain(parameter), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(part, name, plain(buffer))


def on_device(stylegan: Any, searched: int = 0) -> Generator:
    """Loads the generator to its device with ComfyUI's memory management; call it inside `gradients()`, each time.

    ComfyUI also frees the memory that the work needs. A generator of another pack is wrapped.

    Args:
        searched: batch size of a search; 0: images are only rendered, one at a time.

    Raises:
        SettingError: the object does not have the interface of a generator.
    """
    generator = known(stylegan)
    memory = search_memory(generator, searched) if searched else render_memory(generator)
    comfy.model_management.load_models_gpu([patcher_of(generator)], memory_required=memory, force_full_load=True)
    _own_weights(generator)  # another node may have moved them in inference mode
    return generator


def make_room(generator: Generator) -> None:
    """Makes ComfyUI unload all other models from the generator's device, and torch empty its cache."""
    patcher = patcher_of(generator)
    loaded = comfy.model_management.LoadedModel(patcher)
    comfy.model_management.free_memory(1e30, patcher.load_device, keep_loaded=[loaded])
    comfy.model_management.soft_empty_cache()


def full(tensor: Tensor) -> Tensor:
    """A float32 copy of an IMAGE or MASK, which may be of any precision; see `plain`."""
    return tensor.detach().to(torch.float32, copy=True)


def check_image(image: Tensor) -> None:
    """Checks that the value of an IMAGE input has the host's shape, and holds something.

    Raises:
        SettingError: it does not.
    """
    if image.ndim != 4 or not image.numel():
        raise SettingError(
            f"The IMAGE input holds a tensor {list(image.shape)}.",
            "images [B, H, W, C], at least one.",
            "check the node that it comes from.",
        )


def take_image(image: Tensor) -> Tensor:
    """The host's IMAGE [B, H, W, C] -> [B, C, H, W], float32, a copy.

    Raises:
        ImageError: NaN, infinite, or far outside 0..1.
    """
    check_colours(image)
    return full(image).movedim(-1, 1)


class Frames(Sequence[Tensor]):
    """The images of the host's IMAGE [B, H, W, C] as float32 copies [3, H, W], each made when it is asked for.

    Each asks whether the user pressed the interrupt button.

    Args:
        alpha: [4, H, W] if there is an alpha channel.

    Raises:
        SettingError: no image, or not in the host's shape.
        ImageError: from an image: NaN, infinite, or far outside 0..1.
    """

    def __init__(self, image: Tensor, *, alpha: bool = False):
        check_image(image)
        self._image, self._alpha = image, alpha

    def __len__(self) -> int:
        return len(self._image)

    def __getitem__(self, index: Any) -> Any:
        check_interrupt()
        pixels = full(self._image[index]).movedim(-1, 0)
        check_colours(pixels)
        return pixels if self._alpha and pixels.shape[0] == 4 else to_rgb(pixels)


def known_faces(faces: Any) -> Faces:
    """The value of a FACES input.

    Raises:
        SettingError: it is another pack's.
    """
    if isinstance(faces, Faces):
        return faces
    raise SettingError(
        f"The FACES input holds a {type(faces).__name__}.",
        "the faces that PULSE Align Faces found.",
        "connect that node's faces output.",
    )


class Images:
    """Fills the host's IMAGE or MASK image by image, so that there is no second copy of all images.

    Each asks whether the user pressed the interrupt button.

    Args:
        count: number of images, all of one size.
        given: the images that they are made of; as many bytes as the host already holds for those are always allowed.

    Raises:
        SettingError: from `add`: they would take too much memory.
    """

    def __init__(self, count: int, given: Tensor | None = None):
        self._count, self._filled = count, 0
        self._allowed = 0 if given is None else given.numel() * FLOAT
        self._whole = torch.empty(0)

    def add(self, image: Tensor) -> None:
        """Appends [C, H, W] (RGB or RGBA) or [H, W], clamped to 0..1."""
        check_interrupt()
        pixels = image.detach().float().clamp(0, 1)
        pixels = pixels.movedim(0, -1) if pixels.ndim == 3 else pixels
        if not self._filled:
            device = comfy.model_management.intermediate_device()
            if self._count * pixels.numel() * FLOAT > self._allowed:
                check_room(self._count, pixels.shape[0], pixels.shape[1])
            self._whole = torch.empty((self._count, *pixels.shape), dtype=image_type(), device=device)
        self._whole[self._filled] = pixels
        self._filled += 1

    def all(self, order: Sequence[int] | None = None) -> Tensor:
        """[B, H, W, C] or [B, H, W], of the host's type and on its device for results; in the given order."""
        assert self._filled == self._count
        return self._whole if order is None or list(order) == sorted(order) else self._whole[list(order)]


def image_type() -> torch.dtype:
    """Of the host's IMAGEs and MASKs: float32, or float16 with --fp16-intermediates; that keeps 256 levels apart."""
    chosen = getattr(comfy.model_management, "intermediate_dtype", None)  # 0.3.64 does not have it
    return torch.float32 if chosen is None else chosen()


def check_room(count: int, height: int, width: int, further: int = 0) -> None:
    """Checks the memory of images before they are made.

    Args:
        further: numbers that are kept beside each.

    Raises:
        SettingError: they would take too much memory.
    """
    what = f"{count} images of {width}x{height} pixels"
    check_bytes(count * (3 * height * width + further) * FLOAT, what, "make fewer at a time, or smaller ones.")


def give_images(images: Iterable[Tensor], count: int | None = None, given: Tensor | None = None) -> Tensor:
    """Images [C, H, W] of one size -> the host's IMAGE [B, H, W, C], 0..1, of its type and on its device for results.

    Args:
        count: number of images, if `images` is an iterator that makes them one by one.
        given: see `Images`.
    """
    if count is None:
        held = list(images)
        return give_images(held, len(held), given)
    batch = Images(count, given)
    for image in images:
        batch.add(image)
    return batch.all()


def give_latent(latent: Latent) -> Tensor:
    """The style vectors ws [B, num_ws, w_dim], as other packs have them on this socket, with the latent as attribute.

    They are on the compute device, where other packs' samplers expect them; the noise maps are not, as they are large.
    What other packs compute from ws is a plain tensor without the attribute.
    """
    ws = latent.ws.detach().to(comfy.model_management.get_torch_device())
    rest = replace(latent, ws=torch.empty(0), noise=tuple(map(store, latent.noise)))  # not ws itself: no circle
    setattr(ws, _WHOLE, rest)
    return ws


def take_latent(value: Any) -> Latent:
    """A copy of the value of a STYLEGAN_LATENT input, ours or another pack's; call it inside `gradients()`.

    Raises:
        SettingError: it has no style vectors.
    """
    ws = value[None] if isinstance(value, Tensor) and value.ndim == 2 else value
    if not isinstance(ws, Tensor) or ws.ndim != 3 or not len(ws):
        what = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise SettingError(
            f"The STYLEGAN_LATENT input holds {what}.",
            "style vectors [B, num_ws, w_dim], at least one.",
            "connect the latent of PULSE Search, PULSE Load Latent or PULSE Sample Face.",
        )
    whole = getattr(value, _WHOLE, None)
    kept = whole if isinstance(whole, Latent) else Latent(ws)
    return replace(kept, ws=ws).map_tensors(full)


def class_of(label: int) -> int | None:
    """The class index of a class_label widget; -1 means all classes."""
    return None if label < 0 else label


def store(tensor: Tensor) -> Tensor:
    """The tensor on the host's device for results."""
    return tensor.detach().to(comfy.model_management.intermediate_device())


def writes_metadata() -> bool:
    """Whether pictures may contain metadata (not with --disable-metadata)."""
    return not comfy.cli_args.args.disable_metadata


def note_in_pictures(extra_pnginfo: dict[str, Any] | None, node_id: str, report: dict[str, Any]) -> None:
    """Makes the host's Save Image write the report into the pictures of this run, as it writes the workflow."""
    if extra_pnginfo is not None:
        extra_pnginfo.setdefault("pulse", {})[node_id] = report


def show_step(node_id: str, text: str) -> None:
    """Shows text on the running node, in the browser that queued the graph; web/summary.js takes it there."""
    server = PromptServer.instance
    server.send_sync("pulse.summary", {"node": node_id, "text": text}, server.client_id)


def summary(lines: Iterable[str], most: int = 200) -> ui.PreviewText:
    """The text that stays on a node after its work, for the `ui` of its output; web/summary.js shows it.

    The host keeps it with the outputs, so a cached node shows it again where the schema has has_intermediate_output.
    """
    each = list(lines)
    left = len(each) - most
    return ui.PreviewText("\n".join([*each[:most], f"and {left} more"] if left > 0 else each))


class Progress:
    """The progress bar of the running node. Each call raises if the user pressed the interrupt button.

    Args:
        preview_every: steps between previews of a search, rounded up to the next full evaluation; 0: no previews.
        node_id: the node that shows the steps of a search as text; None: no text.
    """

    def __init__(self, preview_every: int = 0, node_id: str | None = None):
        self._bar = comfy.utils.ProgressBar(1)
        self._every, self._node_id, self._last_text, self._shown = preview_every, node_id, -_TEXT_EVERY, 0

    def count(self, done: int, total: int) -> None:
        """An `on_progress` callback."""
        check_interrupt()
        self._bar.update_absolute(done, total)

    def over(self, parts: Iterable[T], total: int) -> Iterator[T]:
        """Yields the parts and counts them."""
        for done, part in enumerate(parts, 1):
            yield part
            self.count(done, total)

    def step(self, state: StepState) -> None:
        """An `on_step` callback of a search."""
        check_interrupt()
        preview: Any = None
        first, last = state.step == 0, state.step == state.steps
        if self._every and state.is_full and (first or last or state.step - self._shown >= self._every):
            self._shown = state.step
            # to_pil is always RGB: the host encodes previews as JPEG, which an alpha channel would break
            preview = ("JPEG", to_pil(state.image[0]), PREVIEW_SIDE)
        self._bar.update_absolute(*state.progress, preview)
        self._show_step(state)

    def _show_step(self, state: StepState) -> None:
        """Shows the step, but not too often: each text goes to the browser, and reading the L2 waits for the device."""
        now = time.monotonic()
        if self._node_id is not None and state.is_full and now - self._last_text >= _TEXT_EVERY:
            self._last_text = now
            which = f"{state.done + 1} of {state.total}, " if state.total > 1 else ""
            line = f"{which}step {state.step} of {state.steps}, L2 {float(state.l2.mean()):.4f}"
            show_step(self._node_id, line)
