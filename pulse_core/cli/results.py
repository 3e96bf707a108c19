"""Where a command writes its results, and what it reports about them."""

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
from ..pipeline import Target


def results_of(pictures: list[Path], folder: Path) -> list[Path]:
    """The path of the result for each picture.

    Raises:
        SettingError: two results would have the same path, or one would overwrite an input.
    """
    results = [folder / f"{picture.stem}.png" for picture in pictures]
    inputs, seen = {picture.resolve() for picture in pictures}, set[Path]()
    for picture, result in zip(pictures, results, strict=True):
        if result in seen or result.resolve() in inputs:
            raise SettingError(
                f"The result of {picture} would be written to {result}, the path of another result or an input.",
                "inputs with different names, and a separate folder for the results.",
                "rename an input or choose another folder with -o.",
            )
        seen.add(result)
    return results


def result_metadata(
    target: Target, solution: Solution, config: SearchConfig, generator: Generator, seconds: float
) -> dict[str, Any]:
    """What the report and the PNG file say about a result."""
    return {
        **target.metadata,
        **solution.metadata(config.eps),
        "best_step": solution.best_step,
        "seconds": round(seconds, 3),
        **generator.identity,
        "settings": asdict(config),
    }


def fingerprint(source: Path, generator: Generator, gaussian: LatentGaussian) -> str:
    """A hash of the picture's file, the generator and its fit."""
    return digest(hashlib.sha256(source.read_bytes()).hexdigest(), gaussian.digest, generator.identity)


def digest(*parts: Any) -> str:
    """The SHA-256 of plain data, as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def verdict(row: dict[str, Any]) -> str:
    """One line on how a search ended."""
    return f"{row['summary']}, seed {row['seed']}, {row['seconds']:.1f} s"


def write_report(path: Path | None, key: str, rows: list[dict[str, Any]]) -> None:
    """Writes a JSON file with the notice, and the rows under `key`; nothing without a path or without rows."""
    if path is None or not rows:
        return
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"notice": NOTICE, key: rows}, indent=2) + "\n", encoding="utf-8")
