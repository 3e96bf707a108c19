"""PULSEAlignFaces."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.faces.alignment import align, draw_faces, face_summary
from ..pulse_core.faces.face import POINTS, Faces
from ..pulse_core.faces.finding import FindSettings, find_faces, marked_faces, no_face_error
from . import host, sockets

_EVERYDAY, _SELDOM = ("max_faces",), ("score_threshold", "min_face_size", "rotation")
_NO_FACE = ("error", "pass through")


class PULSEAlignFacesNode(io.ComfyNode):
    """Photographs -> aligned faces, and where they were."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PULSEAlignFaces",
            display_name="PULSE Align Faces",
            category=sockets.CATEGORY,
            description="Finds the faces in photographs and cuts them out, turned and scaled as FFHQ generators know "
            "them. It tells where a face is, not whose.",
            inputs=[
                io.Image.Input("image", tooltip="Photographs or frames of any size."),
                io.Int.Input(
                    "size",
                    default=1024,
                    min=16,
                    max=4096,
                    tooltip="Pixels a side of the aligned faces: the generator's resolution.",
                ),
                *sockets.widgets(FindSettings, _EVERYDAY, _SELDOM),
                io.Combo.Input(
                    "no_face",
                    options=list(_NO_FACE),
                    default="error",
                    tooltip="If no image has a face: stop, or let the images pass through the graph unchanged.",
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="White over the faces that are meant; none or an empty one for all."
                ),
                sockets.advanced(
                    io.String.Input(
                        "landmarks",
                        default="",
                        optional=True,
                        multiline=True,
                        tooltip="To mark faces by hand: x and y, in pixels, of " + ", ".join(POINTS) + ". Ten numbers "
                        "a face. Empty: faces are found.",
                    )
                ),
            ],
            outputs=[
                io.Image.Output(
                    "aligned", display_name="aligned", tooltip="The faces, the largest of each image first."
                ),
                sockets.Faces.Output(
                    "faces",
                    display_name="faces",
                    tooltip="Where they were and what they hold, for PULSE Search and PULSE Paste Faces.",
                ),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="The images with squares, landmarks, numbers, sizes, and how many pixels each face holds.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, image: Tensor, size: int, no_face: str, mask: Tensor | None = None, landmarks: str = "", **settings: Any
    ) -> io.NodeOutput:
        finding = FindSettings(**settings)
        with host.gradients():
            frames = host.Progress().over(host.frames(image), len(image))
            if landmarks.strip():
                faces = marked_faces(frames, landmarks)
            else:
                faces = find_faces(frames, finding, host.masks(mask, len(image)))
            if not faces and no_face == "error":
                raise no_face_error(finding, image.shape[1:3])
            blank = [torch.full((3, size, size), 0.5)]  # an IMAGE cannot be empty
            aligned = host.give_images(align(host.frames(image), faces, size) if faces else blank, len(faces) or 1)
            drawn = (draw_faces(frame, faces.of_picture(number)) for number, frame in enumerate(host.frames(image)))
            preview = host.give_images(drawn, len(image))
        host.show_lines(cls.hidden.unique_id, _lines(faces))
        return io.NodeOutput(aligned, faces, preview)


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
