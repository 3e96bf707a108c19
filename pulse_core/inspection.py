"""What a checkpoint file is, in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import catalogue
from .checkpoints import read_checkpoint
from .loading import generator_of


def describe(source: Path | str, mapping: Path | str | None = None) -> dict[str, Any]:
    """Facts about a generator's checkpoint: family, sizes, parameters, noise maps, format, hash, licence.

    Raises:
        CheckpointError: see `load_generator`.
    """
    checkpoint = read_checkpoint(catalogue.locate(source))
    generator = generator_of(checkpoint, mapping)
    known = next((row for row in catalogue.entries() if row.content_hash == generator.content_hash), None)
    height, width = generator.size
    return {
        "file": str(checkpoint.path),
        "format": checkpoint.format,
        "family": generator.family,
        "known as": known.name if known else None,
        "resolution": f"{width}x{height}",
        "channels": generator.img_channels,
        "z_dim": generator.z_dim if generator.has_mapping else None,
        "c_dim": generator.c_dim,
        "w_dim": generator.w_dim,
        "style vectors": generator.num_ws,
        "noise maps": len(generator.noise_shapes),
        "mapping network": "yes" if generator.has_mapping else "no (a latent Gaussian fit is needed)",
        "parameters": sum(p.numel() for p in generator.parameters()),
        "content hash": generator.content_hash,
        "licence": known.license if known else checkpoint.metadata.get("license"),
        "lineage": known.lineage if known else checkpoint.metadata.get("lineage"),
    }
