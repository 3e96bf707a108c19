"""The host's folders: generators, latent fits, saved latents, results. Only this file imports folder_paths."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import folder_paths

from ..pulse_core.checkpoints import SUFFIXES
from ..pulse_core.errors import CheckpointError, SettingError
from ..pulse_core.faces.detection import WEIGHTS
from ..pulse_core.latents.fits import FIT_SUFFIX, PULSE_FIT
from ..pulse_core.latents.latent import LATENT_SUFFIX
from ..pulse_core.limits import check_length, shortened
from ..pulse_core.loading import catalogue

MODEL_FOLDER = "stylegan"
_PACK_FOLDER = Path(__file__).resolve().parent.parent
_DETECTOR = WEIGHTS.relative_to(_PACK_FOLDER / "weights")  # is in the same folder as the generators
_LONGEST_PREFIX = 1000  # characters
_OUTPUT = " [output]"  # marks a file of the output folder, as the host does


def register_model_folders() -> None:
    """Adds models/stylegan, the pack's weights and its output folder to those of the user's extra_model_paths.yaml."""
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(Path(folder_paths.models_dir) / MODEL_FOLDER))
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(catalogue.weights_dir()))
    folder_paths.add_model_folder_path(MODEL_FOLDER, str(Path(folder_paths.get_output_directory()) / MODEL_FOLDER))
    paths, extensions = folder_paths.folder_names_and_paths[MODEL_FOLDER]
    folder_paths.folder_names_and_paths[MODEL_FOLDER] = (paths, set(extensions) | set(SUFFIXES))


def checkpoint_names() -> list[str]:
    """The checkpoint files that are there, then those of the catalogue that can be fetched."""
    files = folder_paths.get_filename_list(MODEL_FOLDER)
    here = [name for name in files if not _is_other(name)]
    return here + [row.file for row in catalogue.fetchable() if row.file not in here]


def fit_names() -> list[str]:
    """The files of latent fits, ours and PULSE's."""
    return [name for name in folder_paths.get_filename_list(MODEL_FOLDER) if _is_fit(name)]


def _is_fit(name: str) -> bool:
    return name.endswith(FIT_SUFFIX) or Path(name).name == PULSE_FIT


def _is_other(name: str) -> bool:
    return _is_fit(name) or name.endswith(LATENT_SUFFIX) or Path(name) == _DETECTOR


def checkpoint_path(name: str) -> Path:
    """The path of one of `checkpoint_names`.

    Raises:
        CheckpointError: the file is not there; the message says how to get it.
    """
    path = folder_paths.get_full_path(MODEL_FOLDER, name)
    if path is not None:
        return Path(path)
    folders = folder_paths.get_folder_paths(MODEL_FOLDER)
    raise CheckpointError(
        f"The checkpoint {name!r} is not on this machine.",
        f"a file in {' or '.join(folders)}.",
        _how_to_get(name, folders[0]),
    )


def _how_to_get(name: str, folder: str) -> str:
    """What to do about a missing checkpoint; what needs no terminal first."""
    known = catalogue.entry_of_file(name)
    if known is None or known not in catalogue.downloadable():
        where = f" (it may be {known.title}: {known.ask})" if known is not None else ""
        return f"put {name}{where} into {folder}, refresh the page (R), and choose it again."
    again = "install this pack again in the Manager, which downloads it; or " if known in catalogue.fetchable() else ""
    command = f'"{sys.executable}" -m pulse_core fetch {known.name}'
    return f"{again}open a terminal in {_PACK_FOLDER}, and run `{command}`. Then queue the graph again."


def is_there(path_of: Callable[[str], Path], name: str | None) -> bool | str:
    """For validate_inputs, which newer and older hosts ask before they run a graph: True, or what is missing.

    Args:
        path_of: `checkpoint_path` or `latent_path`.
        name: None: an input that is connected, and so not known yet.
    """
    try:
        return name is None or bool(path_of(name))
    except CheckpointError as error:
        return str(error)


def fingerprint(path: Path) -> str:
    """A text that changes when the file does, so that the host loads it again."""
    metadata = path.stat()
    return f"{path}:{metadata.st_mtime_ns}:{metadata.st_size}"


def _latent_folders() -> dict[str, Path]:
    """The folders of saved latents, by the suffix of their names in the list."""
    return {"": Path(folder_paths.get_input_directory()), _OUTPUT: Path(folder_paths.get_output_directory())}


def latent_names() -> list[str]:
    """The saved latents in the host's input and output folders, the latter marked as the host marks them."""
    return [
        path.relative_to(folder).as_posix() + mark
        for mark, folder in _latent_folders().items()
        for path in sorted(folder.rglob(f"*{LATENT_SUFFIX}"))
    ]


def latent_path(name: str) -> Path:
    """The path of one of `latent_names`.

    Raises:
        CheckpointError: there is no such file.
    """
    folders = _latent_folders()
    mark = _OUTPUT if name.endswith(_OUTPUT) else ""
    folder = folders[mark].resolve()
    path = (folder / name.removesuffix(mark)).resolve()
    if not (path.is_relative_to(folder) and path.is_file() and path.name.endswith(LATENT_SUFFIX)):
        raise CheckpointError(
            f"The latent {name!r} is not on this machine.",
            f"a {LATENT_SUFFIX} file in {' or '.join(str(each) for each in folders.values())}.",
            f"put it into {folders['']}, refresh the page (R), and choose it again.",
        )
    return path


def output_file(prefix: str, suffix: str = ".safetensors") -> Path:
    """A new path with this prefix in the host's output folder.

    Raises:
        SettingError: no file can have such a name.
    """
    check_length(prefix, _LONGEST_PREFIX, "filename_prefix", "use a shorter one.")
    directory = folder_paths.get_output_directory()
    try:
        if "\0" in prefix:
            raise OSError("it has a null character")  # which some systems take for the end
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, directory)
        path = Path(folder) / f"{name}_{counter:05}_{suffix}"
        path.exists()  # raises for a name that is too long
        if not path.resolve().is_relative_to(Path(directory).resolve()):  # as of "" or "."
            raise OSError("it is outside of the output folder")
    except OSError as error:
        raise SettingError(
            f"filename_prefix is {shortened(prefix)}, and no file can be made there ({error}).",
            "the beginning of a path below ComfyUI's output folder.",
            "use a shorter or another one.",
        ) from error
    return path


def fit_cache() -> Path:
    """Where fits are cached: in the host's folder for the user's things, as those of models are full of models."""
    return Path(folder_paths.get_user_directory()) / "pulse" / "fits"


def temporary_file(prefix: str) -> Path:
    """A new PNG's path with this prefix in the host's folder for temporary files, which it empties at its start."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{prefix}_{uuid4().hex[:12]}.png"


def in_output(path: Path) -> Path:
    """The path of a file relative to the host's output folder."""
    return path.resolve().relative_to(Path(folder_paths.get_output_directory()).resolve())
