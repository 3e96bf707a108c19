"""The best iterate of each image of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Best:
    """The best iterate of each image so far: within eps before outside, then the smaller score.

    Attributes:
        step: [B], of the iterate; -1 where there is none yet. l2: [B]. image: [B, C, H, W]. ws, noise: what drew it.
    """

    def __init__(self, images: int, like: Tensor):
        self.step = torch.full((images,), -1)
        self.l2 = like.new_full((images,), torch.inf)
        self._score = like.new_full((images,), torch.inf)
        self._found = torch.zeros(images, dtype=torch.bool, device=like.device)
        self.image = self.ws = like.new_empty(0)
        self.noise: list[Tensor] = []

    def offer(
        self, step: int, score: Tensor, l2: Tensor, found: Tensor, image: Tensor, ws: Tensor, noise: Sequence[Tensor]
    ) -> None:
        """Keeps what is better. A score that is not finite never is."""
        sooner = (found & ~self._found) | ((found == self._found) & (score < self._score))
        rows = (sooner & score.isfinite()).nonzero().flatten().tolist()
        if not rows:
            return
        if self.image.numel() == 0:
            self.image, self.ws, self.noise = image.clone(), ws.clone(), [n.detach().clone() for n in noise]
        kept_new = ((self.l2, l2), (self._score, score), (self._found, found), (self.image, image), (self.ws, ws))
        for kept, new in (*kept_new, *zip(self.noise, noise, strict=True)):
            for row in rows:
                kept[row] = new[row]
        self.step[rows] = step
