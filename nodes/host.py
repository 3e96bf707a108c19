"""Everything that the pack asks of its host: model folders, devices, gradients, progress, the interrupt button.

No other file imports comfy.* or folder_paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from server import PromptServer
from torch import Tensor, nn

from ..pulse_core import catalogue
from ..pulse_core.checkpoints import SUFFIXES
from ..pulse_core.errors import CheckpointError, SettingError
from ..pulse_core.faces.detection import WEIGHTS
from ..pulse_core.faces.face import Faces
from ..pulse_core.gaussian import FIT_SUFFIX, PULSE_FIT
from ..pulse_core.generators import Generator
from ..pulse_core.generators.foreign import adapt
from ..pulse_core.images import to_pil, to_rgb

if TYPE_CHECKING:
    from ..pulse_core.latent_search.solution import StepState

T = TypeVar("T")
MODEL_FOLDER = "stylegan"
PREVIEW_SIDE = 512
_PACK_FOLDER = Path(__file__).resolve().parent.parent
_DETECTOR = WEIGHTS.relative_to(_PACK_FOLDER / "weights")  # lies among the generators, but is none


def register_model_folders() -> None:
    """models/stylegan, the pack's weights and what it saved, added to what the user's extra_model_paths.yaml names."""
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(Path(folder_paths.models_dir) / MODEL_FOLDER))
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(catalogue.weights_dir()))
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(Path(folder_paths.get_output_directory()) / MODEL_FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[MODEL_FOLDER]
    folder_paths.folder_names_and_paths[MODEL_FOLDER] = (paths, set(extensions) | set(SUFFIXES))


def checkpoint_names() -> list[str]:
    """The files to choose from, then the known ones that could be fetched."""
    files = folder_paths.get_filename_list(MODEL_FOLDER)
    here = [name for name in files if not _is_fit(name) and Path(name) != _DETECTOR]
    return here + [row.file for row in catalogue.fetchable() if row.file not in here]


def fit_names() -> list[str]:
    """The latent fits to choose from, ours and PULSE's."""
    return [name for name in folder_paths.get_filename_list(MODEL_FOLDER) if _is_fit(name)]


def _is_fit(name: str) -> bool:
    return name.endswith(FIT_SUFFIX) or Path(name).name == PULSE_FIT


def checkpoint_path(name: str) -> Path:
    """The file behind a choice of `checkpoint_names`.

    Raises:
        CheckpointError: it is not on this machine; the message says how it gets there.
    """
    path = folder_paths.get_full_path(MODEL_FOLDER, name)
    if path is not None:
        return Path(path)
    folders = " or ".join(folder_paths.get_folder_paths(MODEL_FOLDER))
    known = catalogue.entry_of_file(name)
    if known is None or known.source is None:
        where = f" (it may be {known.title}: {known.ask})" if known is not None else ""
        remedy = f"put {name}{where} into {folders}, refresh the page (R), and choose it again."
    else:
        remedy = (
            f"open a terminal in {_PACK_FOLDER}, run `python -m pulse_core fetch {known.name}` with the Python that "
            "runs ComfyUI, and queue the graph again."
        )
    raise CheckpointError(f"The checkpoint {name!r} is not on this machine.", f"a file in {folders}.", remedy)


@contextmanager
def gradients() -> Iterator[None]:
    """Leaves the inference mode that ComfyUI runs nodes in; without this no gradient exists.

    Tensors made outside of the block stay inference tensors: pass inputs through `plain`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """A copy that gradients may flow through; call it inside `gradients()`."""
    return tensor.detach().clone()


@dataclass
class _Handle:
    """What the host's memory management knows a generator by. A copy of a generator has none: projectors make them."""

    patcher: comfy.model_patcher.ModelPatcher

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None


# Wrappers of other packs' generators, for as long as those live.
_WRAPPED: WeakKeyDictionary[nn.Module, Generator] = WeakKeyDictionary()


def known(stylegan: Any) -> Generator:
    """The generator on a STYLEGAN input, ours or another pack's; call it inside `gradients()`.

    Raises:
        SettingError: the object has not the interface of a generator.
    """
    if isinstance(stylegan, Generator) or not isinstance(stylegan, nn.Module):
        return adapt(stylegan)
    if stylegan not in _WRAPPED:
        _own_weights(stylegan)
        _WRAPPED[stylegan] = adapt(stylegan)
    return _WRAPPED[stylegan]


def _own_weights(module: nn.Module) -> None:
    """Copies weights that were made or moved in inference mode: no gradient can pass those."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_inference():
                part.register_parameter(name, nn.Parameter(plain(parameter), requires_grad=False))
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(part, name, plain(buffer))


def on_device(stylegan: Any) -> Generator:
    """Has ComfyUI's memory management bring the generator to its device; call it inside `gradients()`, each time.

    A generator of another pack is wrapped.

    Raises:
        SettingError: the object has not the interface of a generator.
    """
    generator = known(stylegan)
    if generator.host_handle is None:
        load, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
        generator.host_handle = _Handle(comfy.model_patcher.ModelPatcher(generator, load, offload))
    comfy.model_management.load_models_gpu([generator.host_handle.patcher], force_full_load=True)
    _own_weights(generator)  # another node may have moved them in inference mode since
    return generator


def take_image(image: Tensor) -> Tensor:
    """The host's IMAGE [B, H, W, C] -> [B, C, H, W], a copy."""
    return plain(image).movedim(-1, 1)


def frames(image: Tensor, *, alpha: bool = False) -> Iterator[Tensor]:
    """The host's IMAGE [B, H, W, C], one by one: copies [3, H, W]; with `alpha` [4, H, W] where it has one."""
    for frame in image:
        pixels = plain(frame).movedim(-1, 0)
        yield pixels if alpha and pixels.shape[0] == 4 else to_rgb(pixels)


def masks(mask: Tensor | None, count: int) -> list[Tensor | None]:
    """The host's MASK [B, H, W], or one for all, for `count` images; None for those whose mask is empty.

    Raises:
        SettingError: another number of masks.
    """
    if mask is None:
        return [None] * count
    if mask.shape[0] not in (1, count):
        raise SettingError(
            f"There are {mask.shape[0]} masks for {count} images.", "one mask, or one for each.", "give as many."
        )
    each = [plain(part) if bool((part > 0).any()) else None for part in mask]
    return each * (count // len(each))


def known_faces(faces: Any) -> Faces:
    """What is on a FACES input.

    Raises:
        SettingError: the FACES of another pack.
    """
    if isinstance(faces, Faces):
        return faces
    raise SettingError(
        f"The FACES input holds a {type(faces).__name__}.",
        "the faces that PULSE Align Faces found.",
        "connect that node's faces output.",
    )


class Images:
    """A host's IMAGE or MASK that is filled one by one, so that its parts need not be held beside it.

    Args:
        count: how many are to come, all of one size.
    """

    def __init__(self, count: int):
        self._count, self._filled = count, 0
        self._whole = torch.empty(0)

    def add(self, image: Tensor) -> None:
        """[C, H, W] in RGB or with alpha, or [H, W]; values are cut off at 0 and 1."""
        pixels = image.detach().float().clamp(0, 1)
        pixels = pixels.movedim(0, -1) if pixels.ndim == 3 else pixels
        if not self._filled:
            device = comfy.model_management.intermediate_device()
            self._whole = torch.empty((self._count, *pixels.shape), device=device)
        self._whole[self._filled] = pixels
        self._filled += 1

    def all(self) -> Tensor:
        """[B, H, W, C] or [B, H, W], float32, where the host wants results."""
        assert self._filled == self._count
        return self._whole


def give_images(images: Iterable[Tensor], count: int | None = None) -> Tensor:
    """[C, H, W] each, all of one size -> the host's IMAGE [B, H, W, C], float32, 0..1, where it wants results.

    Args:
        count: how many there are, where `images` makes them one by one.
    """
    if count is None:
        held = list(images)
        return give_images(held, len(held))
    batch = Images(count)
    for image in images:
        batch.add(image)
    return batch.all()


def give_latent(ws: Tensor) -> Tensor:
    """Style vectors, on the device that computes: other packs' samplers expect them there, and they are small."""
    return ws.detach().to(comfy.model_management.get_torch_device())


def class_of(label: int) -> int | None:
    """A class_label widget's value; -1 stands for all classes."""
    return None if label < 0 else label


def output_file(prefix: str) -> Path:
    """A new file of this prefix among the host's outputs."""
    directory = folder_paths.get_output_directory()
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, directory)
    return Path(folder) / f"{name}_{counter:05}_.safetensors"


def show_text(node_id: str, text: str) -> None:
    """Text on the node itself, in the browser that queued the graph."""
    server = PromptServer.instance
    server.send_progress_text(text, node_id, server.client_id)


def show_lines(node_id: str, lines: Sequence[str], most: int = 8) -> None:
    """The first lines as text on the node, and how many more there are."""
    left = len(lines) - most
    show_text(node_id, "\n".join([*lines[:most], f"and {left} more"] if left > 0 else lines))


class Progress:
    """The progress bar of the running node. Each call raises if the user pressed the interrupt button.

    Args:
        preview_every: show the current image every so many steps of a search; 0 shows none.
    """

    def __init__(self, preview_every: int = 0):
        self._bar = comfy.utils.ProgressBar(1)
        self._every = preview_every

    def count(self, done: int, total: int) -> None:
        """For work that is counted."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._bar.update_absolute(done, total)

    def over(self, parts: Iterable[T], total: int) -> Iterator[T]:
        """Hands the parts through and counts them."""
        for done, part in enumerate(parts, 1):
            yield part
            self.count(done, total)

    def step(self, state: StepState) -> None:
        """For the steps of a search."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview: Any = None
        if self._every and (state.step % self._every == 0 or state.step == state.steps):
            # to_pil is always RGB: the host encodes previews as JPEG, which an alpha channel would break
            preview = ("JPEG", to_pil(state.image[0]), PREVIEW_SIDE)
        self._bar.update_absolute(*state.progress, preview)
