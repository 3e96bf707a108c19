"""Any checkpoint -> one .safetensors of this pack, which draws the same images bit for bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import safetensors_format
from ..checkpoints.stored import Stored, stored
from ..checkpoints.tree import PLAIN
from ..defaults import own_defaults
from ..errors import CheckpointError, SettingError
from ..generators import Generator, build_generator
from ..generators.foreign import ForeignGenerator
from ..generators.tensors import content_hash
from . import catalogue
from .layouts import own, translate
from .load import Found, load_generator, read_generator

_CLOSE = 1e-2  # max difference of images in -1..1 between a foreign network, possibly in float16, and ours


def convert(source: Path | str, output: Path | str, mapping: Path | str | None = None) -> Path:
    """Writes a checkpoint of any known format and program as one .safetensors, whole or not at all.

    Args:
        source, mapping: as for `load_generator`.
        output: a path that ends in .safetensors and is none of the inputs.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        SettingError: the output has another ending or is an input.
        OSError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    generator = load_generator(source, mapping)
    if output.suffix != ".safetensors" or output.resolve() in {file.resolve() for file in generator.files}:
        raise SettingError(
            f"The output is {output}.", "a path that ends in .safetensors and is not an input.", "choose another name."
        )
    return save_generator(generator, output)


@own_defaults
def save_generator(generator: Generator, output: Path | str) -> Path:
    """Writes a generator that was loaded from files, or one of another program, as one .safetensors.

    A generator of files is written from them anew: it holds its weights in another form than a file does.

    Raises:
        CheckpointError: its files changed since it was loaded, or it is of another program and unknown here.
        OSError: the disk is full or the folder cannot be written.
    """
    if isinstance(generator, ForeignGenerator):
        tensors, settings, ours = _foreign_tensors(generator)
        said: dict[str, str] = {}
    else:
        tensors, settings, said = _tensors_of_files(generator)
        ours = generator
    family, digest = ours.family, ours.content_hash
    sums = [sha256(file) for file in generator.files]
    metadata = said | own_metadata(
        family, settings, name=generator.name, content_hash=digest, known=_known(sums, digest)
    )
    if generator.files:
        metadata |= {"source": ", ".join(file.name for file in generator.files), "source_sha256": ", ".join(sums)}
    output = Path(output)
    weights = {name: t.read().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    safetensors_format.write(output, weights, metadata)
    return output


def own_metadata(
    family: str, settings: Mapping[str, Any], *, name: str, content_hash: str, known: catalogue.Entry | None
) -> dict[str, str]:
    """The metadata of a .safetensors file of this pack."""
    metadata = {own.FAMILY: family, own.SETTINGS: json.dumps(dict(settings)), "name": name}
    if known is not None:
        metadata |= {"license": known.license, "lineage": known.lineage or known.title}
    return {**metadata, "content_hash": content_hash}


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _known(sums: Sequence[str], digest: str) -> catalogue.Entry | None:
    return catalogue.recognised(sums[0] if sums else None, digest)


def _tensors_of_files(generator: Generator) -> tuple[Stored, dict[str, Any], dict[str, str]]:
    """Tensors, settings, and the licence and lineage in the file's metadata."""
    found = read_generator(generator.files) if generator.files else Found({}, {}, None, {})
    tensors, settings, metadata = found.tensors, found.settings, found.metadata
    if content_hash(tensors, settings) != generator.content_hash:
        raise CheckpointError(
            f"The generator {generator.name!r} was loaded from {', '.join(map(str, generator.files)) or 'no file'}, "
            "which does not hold its weights any more.",
            "the file that it was loaded from.",
            "load it again.",
        )
    return tensors, settings, {key: str(metadata[key]) for key in ("license", "lineage") if key in metadata}


def _foreign_tensors(generator: ForeignGenerator) -> tuple[Stored, dict[str, Any], Generator]:
    """A network of another program by its state dict, and this pack's own that draws the same images from it."""
    halves = {"mapping": generator.mapping.network, "synthesis": generator.synthesis.network}
    state: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {}
    for half, module in halves.items():
        assert isinstance(module, nn.Module)
        state |= {f"{half}.{name}": tensor for name, tensor in module.state_dict().items()}
        for name, part in module.named_modules(prefix=half):
            metadata |= {f"{name}.{key}": value for key, value in vars(part).items() if isinstance(value, PLAIN)}
    tensors, settings = translate(stored(state), metadata)
    ours = build_generator(tensors, settings, name=generator.name)
    ws = torch.randn(1, ours.num_ws, ours.w_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = generator.synthesis(ws).cpu()
        distance = float((ours.synthesis(ws) - theirs).abs().max() / theirs.abs().max().clamp(min=1))
    if not distance < _CLOSE:
        raise CheckpointError(
            f"The network {generator.name!r} has the tensors of a {ours.family} but draws other images.",
            "a generator that this pack knows.",
            "keep the file that it came from; its program has changed the network.",
        )
    return tensors, settings, ours
