"""Where the results of a command go, and what is reported of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..files import whole_file
from ..generators import Generator
from ..latent_search.config import SearchConfig
from ..latent_search.solution import Solution
from ..latents.gaussian import LatentGaussian
from ..pictures.images import NOTICE


def results_of(pictures: list[Path], folder: Path) -> list[Path]:
    """One result file for each picture; no two the same, and none an input.

    Raises:
        SettingError: two inputs of one name, or results that would overwrite an input.
    """
    results = [folder / f"{picture.stem}.png" for picture in pictures]
    inputs, seen = {picture.resolve() for picture in pictures}, set[Path]()
    for picture, result in zip(pictures, results, strict=True):
        if result in seen or result.resolve() in inputs:
            raise SettingError(
                f"The result of {picture} would be written to {result}, which another result or an input has.",
                "inputs with different names, and a folder of its own for the results.",
                "rename an input or choose another folder with -o.",
            )
        seen.add(result)
    return results


def search_metadata(
    solution: Solution, config: SearchConfig, generator: Generator, seconds: float, degradation: str | None
) -> dict[str, Any]:
    """What the report and the picture itself say of a result."""
    return {
        **solution.metadata(config.eps),
        "best_step": solution.best_step,
        "seconds": round(seconds, 3),
        **generator.identity,
        "settings": asdict(config),
        "degradation": degradation,
    }


def fingerprint(source: Path, generator: Generator, gaussian: LatentGaussian) -> str:
    """Of what a search begins with: the picture's file, the generator and its fit."""
    return digest(hashlib.sha256(source.read_bytes()).hexdigest(), gaussian.digest, generator.identity)


def digest(*parts: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def verdict(row: dict[str, Any]) -> str:
    """One line on how a search ended."""
    return f"{row['told']}, seed {row['seed']}, {row['seconds']:.1f} s"


def write_report(path: Path | None, key: str, rows: list[dict[str, Any]]) -> None:
    """A JSON file with the notice and the rows under `key`; nothing where there is no path or no row."""
    if path is None or not rows:
        return
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"notice": NOTICE, key: rows}, indent=2) + "\n", encoding="utf-8")
