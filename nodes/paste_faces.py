"""PULSEPasteFaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.errors import SettingError
from ..pulse_core.faces.face import Face, Faces
from ..pulse_core.faces.pasting import PasteSettings, Patch, paste
from ..pulse_core.pictures.images import NOTICE
from . import host, offers, sockets
from .choices import chosen
from .masks import each_mask

_WHERE = "read the numbers off the preview of PULSE Align Faces."


class PULSEPasteFacesNode(io.ComfyNode):
    """Photographs and restored faces -> photographs with these faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEPasteFaces",
            display_name="PULSE Paste Faces",
            category=sockets.CATEGORY,
            search_aliases=["face", "restore", "paste back", "composite face"],
            essentials_category=offers.IMAGE_TOOLS,
            description="Pastes restored faces back into their photographs; all other pixels stay unchanged. " + NOTICE,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The photographs in which the faces were found; they may be recoloured or enlarged.",
                ),
                io.Image.Input(
                    "restored", tooltip="One restored face of any size for each of faces, in the same order."
                ),
                sockets.Faces.Input("faces", tooltip="From PULSE Align Faces."),
                *sockets.widgets(PasteSettings, "basic"),
                io.String.Input(
                    "which", default="all", tooltip="all, or the numbers of the faces to paste, like 1, 3."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the faces are pasted, instead of a feathered seam; drawn on the photograph or "
                    "on the restored faces.",
                ),
                *sockets.widgets(PasteSettings, "appended"),
            ],
            outputs=[
                io.Image.Output("result", display_name="image", tooltip="The photographs with the invented faces."),
                io.Mask.Output("invented", display_name="invented", tooltip="White where the photograph is invented."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, restored: Tensor, faces: Any, which: str, mask: Tensor | None = None, **settings: Any
    ) -> io.NodeOutput:
        found, pasting = host.known_faces(faces), PasteSettings(**settings)
        mask = each_mask(mask)
        _check_counts(image, restored, mask, found)
        numbers = set(chosen(which, len(found), _WHERE))
        if pasting.enlarge > 1:
            host.check_room(len(image), *(round(side * pasting.enlarge) for side in image.shape[1:3]))
        pictures, invented = host.Images(len(image), image), host.Images(len(image), image)
        with host.gradients():
            frames = host.Progress().over(host.Frames(image, alpha=True), len(image))
            for number, frame in enumerate(frames):
                here = {index: face for index, face in found.of_picture(number) if index in numbers}
                patches = _patches(restored, mask, found, number, here)
                pasted = paste(frame, found.sources[number], patches, pasting, here.values())
                pictures.add(pasted.picture)
                invented.add(pasted.invented)
            return io.NodeOutput(pictures.all(), invented.all())


def _patches(
    restored: Tensor, mask: Tensor | None, faces: Faces, number: int, here: dict[int, Face]
) -> Iterator[Patch]:
    """The chosen restored faces of one image, the smallest first."""
    for index, face in reversed(here.items()):
        (image,) = host.Frames(restored[index : index + 1])
        yield Patch(face, image, _mask_of(mask, index, number, faces, image.shape[-1]))


def _mask_of(mask: Tensor | None, index: int, number: int, faces: Faces, side: int) -> Tensor | None:
    """The mask of a face: one for all, for each image, or for each face.

    As many masks as images and as faces: they are of the faces if they have the size of the restored faces.

    Args:
        mask: see `each_mask`. side: of the restored faces.
    """
    if mask is None:
        return None
    size = (mask.shape[-2], mask.shape[-1])
    of_images = len(mask) == len(faces.sources) and (len(mask) != len(faces) or size != (side, side))
    return host.full(mask[0 if len(mask) == 1 else number if of_images else index])


def _check_counts(image: Tensor, restored: Tensor, mask: Tensor | None, faces: Faces) -> None:
    host.check_image(image)
    host.check_image(restored)
    images, masks = len(faces.sources), 1 if mask is None else len(mask)
    if len(image) != images or (faces and len(restored) != len(faces)) or masks not in (1, images, len(faces)):
        raise SettingError(
            f"There are {len(faces)} faces of {images} images; given are {len(image)} images, {len(restored)} restored "
            f"faces and {masks} masks.",
            "the images that the faces were found in, one restored face for each face, and one mask for all, for each "
            "image, or for each face.",
            "connect the image of PULSE Align Faces; leave solutions of PULSE Search at 1.",
        )
