"""Facts about a generator, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoints import read_checkpoint
from ..generators import Generator
from . import catalogue
from .conversion import sha256
from .load import load_generator

# Rows that the table leaves out if they are empty.
_OPTIONAL = ("found under", "other generators", "assumed settings", "other classes", "title", "lineage", "ask")


def describe(source: Path | str, mapping: Path | str | None = None) -> dict[str, Any]:
    """Facts about the generator in a checkpoint; arguments and errors as for `load_generator`."""
    return describe_generator(load_generator(source, mapping))


def describe_generator(generator: Generator) -> dict[str, Any]:
    """Facts about a generator and its file: family, sizes, parameters, noise maps, format, hashes, licence.

    A licence is that of a known checkpoint, or what the file says of itself; None where neither is there. "found
    under" is the prefix of the tensors' names, "other generators" are those beside it that were not taken, "assumed
    settings" have a default because the file does not say them, "other classes" are names of other programs that the
    file mentions: nothing of them was looked up or called.
    """
    file = generator.source
    checkpoint = read_checkpoint(file) if file is not None else None
    digest = sha256(file) if file is not None else None
    known = catalogue.recognised(digest, generator.content_hash)
    said = checkpoint.metadata if checkpoint is not None else {}
    height, width = generator.size
    return {
        "file": ", ".join(map(str, generator.files)) or None,
        "format": checkpoint.format if checkpoint is not None else "in memory",
        "found under": generator.place.removesuffix(".") or None,
        "other generators": ", ".join(place.removesuffix(".") for place in generator.others) or None,
        "bytes": file.stat().st_size if file is not None else None,
        "sha256": digest,
        "known as": known.name if known else None,
        "title": known.title if known else None,
        "family": generator.family,
        "resolution": f"{width}x{height}",
        "channels": generator.img_channels,
        "z_dim": generator.z_dim if generator.has_mapping else None,
        "c_dim": generator.c_dim,
        "w_dim": generator.w_dim,
        "style vectors": generator.num_ws,
        "noise maps": len(generator.noise_shapes),
        "mapping network": _mapping(generator),
        "parameters": sum(p.numel() for p in generator.parameters()),
        "content hash": generator.content_hash,
        "assumed settings": _assumed(generator),
        "other classes": ", ".join(checkpoint.content.unknown[:5]) or None if checkpoint is not None else None,
        "licence": known.license if known else said.get("license"),
        "lineage": (known.lineage or known.title) if known else said.get("lineage"),
        "ask": known.ask if known else None,
    }


def _mapping(generator: Generator) -> str:
    if not generator.has_mapping:
        return "no (a latent Gaussian fit is needed)"
    layers = len(getattr(generator.mapping, "weights", ()))
    return f"{layers} layers" if layers else "yes"


def _assumed(generator: Generator) -> str | None:
    shown = (f"{name} {'none' if value is None else f'{value:g}'}" for name, value in generator.assumed.items())
    return ", ".join(shown) or None


def as_table(metadata: dict[str, Any]) -> str:
    """One line per fact."""
    width = max(map(len, metadata))
    lines = []
    for name, value in metadata.items():
        if value is None and name in _OPTIONAL:
            continue
        shown = f"{value:,}" if isinstance(value, int) else value if value is not None else "unknown"
        lines.append(f"{name:<{width}}  {shown}")
    return "\n".join(lines)


def _notes(metadata: dict[str, Any]) -> list[str]:
    """Which generator in the file was chosen, and which settings were assumed."""
    lines = []
    if metadata["other generators"]:
        lines.append(f"chosen: {metadata['found under']}, not {metadata['other generators']}")
    if metadata["assumed settings"]:
        lines.append(f"assumed, not in the file: {metadata['assumed settings']}")
    return lines


def as_summary(metadata: dict[str, Any]) -> str:
    """The facts in a few lines, where the table is too long."""
    classes = f", {metadata['c_dim']} classes" if metadata["c_dim"] else ""
    size = f", {metadata['bytes']:,} bytes" if metadata["bytes"] is not None else ""
    lines = [
        f"{metadata['family']}, {metadata['resolution']}, {metadata['channels']} channels{classes}",
        f"w of {metadata['w_dim']}, {metadata['style vectors']} style vectors, {metadata['noise maps']} noise maps",
        f"mapping network: {metadata['mapping network']}",
        f"{metadata['format']}{size}",
        *_notes(metadata),
        f"known as: {metadata['title'] or 'no checkpoint of the catalogue'}",
        f"licence: {metadata['licence'] or 'unknown; ask where you got it'}",
    ]
    return "\n".join(lines)
