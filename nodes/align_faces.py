"""PULSEAlignFaces."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.faces.alignment import align, draw_faces, face_summary
from ..pulse_core.faces.face import POINTS, Faces
from ..pulse_core.faces.finding import FindSettings, find_faces, marked_faces, no_face_error
from . import host, offers, sockets
from .boxes import with_boxes
from .masks import each_mask, masks_of_images

_NO_FACE = ("error", "pass through")


class PULSEAlignFacesNode(io.ComfyNode):
    """Photographs -> aligned faces, FACES and a preview."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEAlignFaces",
            display_name="PULSE Align Faces",
            category=sockets.CATEGORY,
            search_aliases=["face", "face detection", "crop face", "find faces", "restore"],
            essentials_category=offers.IMAGE_TOOLS,
            description="Finds the faces in photographs and aligns them as in FFHQ, on which face generators are "
            "trained. It finds where a face is, not whose.",
            inputs=[
                io.Image.Input("image", tooltip="Photographs or video frames of any size."),
                io.Int.Input(
                    "size",
                    default=1024,
                    min=16,
                    max=4096,
                    tooltip="Side of the aligned faces in pixels; use the generator's resolution.",
                ),
                *sockets.widgets(FindSettings, "basic", "advanced"),
                io.Combo.Input(
                    "no_face",
                    options=list(_NO_FACE),
                    default="error",
                    tooltip="If no image has a face: stop with an error, or pass the images through unchanged.",
                ),
                *_where_faces_are(),
            ],
            outputs=[
                io.Image.Output(
                    "aligned", display_name="aligned", tooltip="The aligned faces, the largest of each image first."
                ),
                sockets.Faces.Output(
                    "faces",
                    display_name="faces",
                    tooltip="Positions and degradation estimates of the faces, for PULSE Search and PULSE Paste Faces.",
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The images with the square, landmarks, number, size and effective size of each face.",
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        size: int,
        no_face: str,
        mask: Tensor | None = None,
        landmarks: str = "",
        boxes: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        finding = FindSettings(**settings)
        with host.gradients():
            frames = host.Progress().over(host.Frames(image), len(image))
            if landmarks.strip():
                faces = marked_faces(frames, landmarks)
            else:
                faces = find_faces(frames, finding, _where(mask, boxes, image))
            if not faces and no_face == "error":
                raise no_face_error(finding, image.shape[1:3])
            blank = [torch.full((3, size, size), 0.5)]  # an IMAGE cannot be empty
            aligned = host.give_images(align(host.Frames(image), faces, size) if faces else blank, len(faces) or 1)
            drawn = (draw_faces(frame, faces.of_picture(number)) for number, frame in enumerate(host.Frames(image)))
            preview = host.give_images(drawn, len(image))
        summary = host.summary([*_lines(faces), *_about(mask, boxes, landmarks)])
        return io.NodeOutput(aligned, faces, preview, ui=summary)


def _where(mask: Tensor | None, boxes: Any, image: Tensor) -> list[Tensor | None]:
    """The mask of each image: what is drawn, and the boxes."""
    return with_boxes(masks_of_images(mask, len(image)), boxes, (image.shape[1], image.shape[2]))


def _about(mask: Tensor | None, boxes: Any, landmarks: str) -> list[str]:
    """Says that a mask is empty, which could also mean nobody."""
    ignored = mask is not None and each_mask(mask) is None and not boxes and not landmarks.strip()
    return ["the mask is empty: all faces"] if ignored else []


def _lines(faces: Faces) -> list[str]:
    if not faces:
        return ["no face; the images pass through"]
    several = len(faces.sources) > 1
    return [
        f"{number}: "
        + (f"in image {face.picture + 1}, " if several else "")
        + f"{face_summary(face)}, score {face.score:.3f}"
        for number, face in enumerate(faces, 1)
    ]


def _where_faces_are() -> list[Any]:
    """The inputs that choose faces: a mask, landmarks, boxes."""
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White over the faces to find: one mask for all images, or one for each, where an empty "
            "one means nobody in that image. Without a mask, or if all are empty: all faces.",
        ),
        offers.advanced(
            io.String.Input(
                "landmarks",
                default="",
                optional=True,
                multiline=True,
                tooltip="Marks faces by hand: x and y in pixels of " + ", ".join(POINTS) + ", ten numbers for each "
                "face. Empty: faces are detected.",
            )
        ),
        offers.boxes(
            "boxes",
            "Boxes around the faces to find, in pixels of the images, for example from Create Bounding Boxes; "
            "together with a mask: the faces in either.",
        ),
    ]
