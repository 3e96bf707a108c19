"""The best iterate of each image of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Best:
    """The best iterate of each image so far: one within the tolerance beats one outside, then the smaller score counts.

    Nothing here makes the CPU wait for the device.

    Attributes:
        step: [B]; -1 where there is none yet. l2: [B]. image: [B, C, H, W]. ws, noise: that rendered it.
    """

    def __init__(self, images: int, like: Tensor):
        self.step = torch.full((images,), -1, device=like.device)
        self.l2 = like.new_full((images,), torch.inf)
        self._score = like.new_full((images,), torch.inf)
        self._found = torch.zeros(images, dtype=torch.bool, device=like.device)
        self.image = self.ws = like.new_empty(0)
        self.noise: list[Tensor] = []

    @torch.no_grad()
    def offer(
        self, step: int, score: Tensor, l2: Tensor, found: Tensor, image: Tensor, ws: Tensor, noise: Sequence[Tensor]
    ) -> None:
        """Keeps each image that is better. One whose score is not finite never is."""
        sooner = (found & ~self._found) | ((found == self._found) & (score < self._score))
        better = sooner & score.isfinite()
        if self.image.numel() == 0:
            self.image, self.ws, self.noise = image.clone(), ws.clone(), [each.detach().clone() for each in noise]
        kept_new = ((self.l2, l2), (self._score, score), (self._found, found), (self.image, image), (self.ws, ws))
        for kept, new in (*kept_new, *zip(self.noise, noise, strict=True)):
            torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, kept, out=kept)
        self.step.masked_fill_(better, step)
