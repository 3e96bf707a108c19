"""Small generators as other programs name their tensors, with what those programs draw from them (golden/programs)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from zoo import GOLDEN


@dataclass(frozen=True)
class Program:
    """One program's state dict and its outputs.

    tensors: under the program's names. wrap: around the state dict, as the program saves it, from key to value; None
        where it saves the state dict itself. ending: of its files. family, place: what they are found to be.
    """

    name: str
    family: str
    ending: str = ".pt"
    place: str = ""

    @property
    def golden(self) -> dict[str, Tensor]:
        """z, w, image, and c, noise, image0.7 where the program has them."""
        return {k: t for k, t in _golden(self.name).items() if not k.startswith("G/")}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The state dict."""
        return {k.removeprefix("G/"): t for k, t in _golden(self.name).items() if k.startswith("G/")}

    def content(self) -> Any:
        """What the program puts into a file: its generator with what stands around it."""
        tensors = self.tensors
        raw = {key: torch.randn_like(t) if t.is_floating_point() else t for key, t in tensors.items()}
        if self.place == "generator_smooth.":  # genforce's converters
            return {"generator": raw, "discriminator": {"x": torch.zeros(2)}, "generator_smooth": tensors}
        if self.place == "g_running.":  # rosinality's training
            return {"generator": raw, "discriminator": {"x": torch.zeros(2)}, "g_running": tensors}
        if self.place == "state_dict.generator_ema.":  # MMCV's runner
            state = {f"generator.{k}": t for k, t in raw.items()} | {
                f"generator_ema.{k}": t for k, t in tensors.items()
            }
            return {"meta": {"iter": 5}, "state_dict": state | {"discriminator.x": torch.zeros(2)}, "optimizer": {}}
        if self.place == "state_dict.":  # Lightning
            return {"epoch": 1, "state_dict": tensors, "optimizer_states": [{"state": {}}], "callbacks": {}}
        if self.place == "g_ema.":
            return {"g": raw, "d": {"x": torch.zeros(2)}, "g_ema": tensors}
        return tensors


@lru_cache(maxsize=1)
def _file() -> dict[str, Tensor]:
    return load_file(GOLDEN / "programs.safetensors")


def _golden(name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}/"): t for key, t in _file().items() if key.startswith(f"{name}/")}


PROGRAMS = {
    program.name: program
    for program in (
        Program("genforce stylegan1", "stylegan1", ".pth", "generator_smooth."),
        Program("genforce stylegan2", "stylegan2", ".pth", "generator_smooth."),
        Program("genforce stylegan2-ada labels", "stylegan2", ".pth", "generator_smooth."),
        Program("mobilestylegan", "mobilestylegan", ".ckpt", "state_dict."),
        Program("mmgeneration", "stylegan2", ".pth", "state_dict.generator_ema."),
        Program("huangzh13", "stylegan1", ".pth"),
        Program("style-based", "stylegan1", ".pt", "g_running."),
        Program("rosinality blur_kernel", "stylegan2", ".pt", "g_ema."),
        Program("stylegan-xl labels", "stylegan3"),
        Program("stylegan-xl superresolution", "stylegan3", ".bin"),
        Program("stylegan3 lrelu_upsampling 4", "stylegan3"),
        Program("stylegan3 margin_size 5", "stylegan3"),
        Program("stylegan3 first_cutoff 4", "stylegan3"),
    )
}


def write_program(path: Path, program: Program) -> Path:
    """The file of a program, as it writes it."""
    torch.save(program.content(), path)
    return path
