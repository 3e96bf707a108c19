"""Pictures for the comparison slider of newer hosts."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor
from torch.nn import functional as F

from ..pulse_core.pictures.images import save_image
from . import folders, offers


class Slider:
    """Saves pairs of pictures into the host's folder for temporary files; does nothing where there is no slider."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[ui.SavedResult]] = {"a_images": [], "b_images": []}

    def add(self, before: Tensor, after: Tensor) -> None:
        """[3, h, w], enlarged to the size of the other with square pixels, and [3, H, W]."""
        if not offers.has_slider():
            return
        height, width = max(before.shape[-2], after.shape[-2]), max(before.shape[-1], after.shape[-1])
        large = F.interpolate(before[None], (height, width), mode="nearest-exact")[0]
        for name, picture in (("a_images", large), ("b_images", after)):
            path = folders.temporary_file("pulse_compare")
            save_image(picture, path)
            self._pairs[name].append(ui.SavedResult(path.name, "", io.FolderType.temp))

    @property
    def ui(self) -> dict[str, Any] | None:
        """For the `ui` of the node's output; web/slider.js hands it to the widget."""
        return dict(self._pairs) if offers.has_slider() else None
