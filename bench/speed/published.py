"""The published code itself, from a checkout outside the project: its modules, and its loop on any device.

Its PULSE.py needs CUDA and a download, so the twenty lines of its loop are written here around its own
synthesis network, loss, downscaling and optimiser.
"""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pulse_core.latents.gaussian import LatentGaussian

from .plain import EPS, rate


class PublishedSearch:
    """The search that its run.py starts by default.

    Args:
        checkout: the folder of the published code.
        tensors: of a StyleGAN1, by this pack's names: "synthesis." and its own.
        target: [B, 3, h, h] on the device.
    """

    def __init__(
        self, checkout: Path, tensors: dict[str, Tensor], gaussian: LatentGaussian, target: Tensor, steps: int = 100
    ):
        stylegan, loss, optimizer, bicubic = _modules(checkout)
        on_cuda = target.device.type == "cuda"
        loss.BicubicDownSample = functools.partial(bicubic.BicubicDownSample, cuda=on_cuda)
        self.synthesis = stylegan.G_synthesis().to(target.device)
        own = {name.removeprefix("synthesis."): each for name, each in tensors.items() if name.startswith("synthesis.")}
        self.synthesis.load_state_dict(own)
        self.synthesis.requires_grad_(False)
        self.mean, self.std = gaussian.mean.to(target), gaussian.std.to(target)
        torch.manual_seed(0)  # as published, on the global random state
        self.latent = torch.randn(len(target), 18, 512).to(target).requires_grad_()
        sides = [2 ** (layer // 2 + 2) for layer in range(18)]
        self.noise = [torch.randn(len(target), 1, side, side).to(target) for side in sides]
        self.noise[17].zero_()
        moving = [self.latent, *(noise.requires_grad_() for noise in self.noise[:5])]
        self.optimizer = optimizer.SphericalOptimizer(torch.optim.Adam, moving, lr=0.4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer.opt, functools.partial(rate, steps=steps))
        self.loss = loss.LossBuilder(target, "100*L2+0.05*GEOCROSS", EPS).to(target.device)
        self.rectify = torch.nn.LeakyReLU(0.2)

    def step(self) -> Tensor:
        """One step; returns the squared error before it, summed over the batch and clamped to eps, as in its code."""
        self.optimizer.opt.zero_grad()
        ws = self.rectify(self.latent * self.std + self.mean)
        image = (self.synthesis(ws, self.noise) + 1) / 2
        loss, terms = self.loss(ws, image)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return terms["L2"].detach()


def _modules(checkout: Path) -> list[Any]:
    """Imports its modules by the names that they use for each other."""
    sys.path.insert(0, str(checkout))
    try:
        return [importlib.import_module(name) for name in ("stylegan", "loss", "SphericalOptimizer", "bicubic")]
    finally:
        sys.path.remove(str(checkout))
