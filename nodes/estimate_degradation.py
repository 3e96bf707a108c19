"""PULSEEstimateDegradation."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..pulse_core.degradations import Degradation
from ..pulse_core.degradations.noise import Noise
from ..pulse_core.faces.alignment import face_summary
from ..pulse_core.faces.estimation import DegradationEstimate, estimate_degradation
from ..pulse_core.faces.sizes import AUTO, MAX_SIZE, face_target_size, picture_target_size
from . import host, offers, sockets


class PULSEEstimateDegradationNode(io.ComfyNode):
    """IMAGE or FACES -> DEGRADATION, lr_size and text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return offers.schema(
            node_id="PULSEEstimateDegradation",
            display_name="PULSE Estimate Degradation",
            category=sockets.CATEGORY,
            search_aliases=["blur", "noise", "restore", "effective size"],
            description="Estimates the effective size of a picture of a face, in pixels, and the blur, noise and "
            "greyness that remain at that size: for PULSE Search, to change it first, or to read it.",
            inputs=[
                io.Image.Input(
                    "image", tooltip="Pictures that are cropped to one face each, at least 16 pixels a side."
                ),
                io.Int.Input(
                    "lr_size",
                    default=AUTO,
                    min=0,
                    max=4096,
                    tooltip="Width in pixels at which the search will match. 0: the effective size, at most 128.",
                ),
                sockets.Faces.Input(
                    "faces",
                    optional=True,
                    tooltip="From PULSE Align Faces: uses the estimate of the largest face in its photograph instead "
                    "of the images.",
                ),
            ],
            outputs=[
                sockets.Degradation.Output(
                    "degradation",
                    display_name="degradation",
                    tooltip="For PULSE Search: of the first image or the largest face, in pixels of lr_size. Noise of "
                    "0 if the estimate is uncertain.",
                ),
                io.Int.Output(
                    "size",
                    display_name="lr_size",
                    tooltip="For lr_size of PULSE Search, together with the degradation.",
                ),
                io.String.Output("text", display_name="text", tooltip="One line for each image or face."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image: Tensor, lr_size: int, faces: Any = None) -> io.NodeOutput:
        with host.gradients():
            estimate, size, lines = _of_images(image) if faces is None else _of_faces(faces)
        size = lr_size or size
        return io.NodeOutput(_degradation(estimate, size), size, "\n".join(lines), ui=host.summary(lines))


def _of_images(image: Tensor) -> tuple[DegradationEstimate, int, list[str]]:
    """The first estimate, the size at which to match that image, and a line for each image."""
    frames = host.Progress().over(host.Frames(image), len(image))
    found = [(estimate_degradation(frame), (frame.shape[-2], frame.shape[-1])) for frame in frames]
    first, shape = found[0]
    lines = [f"{number}: {estimate.summary}" for number, (estimate, _) in enumerate(found, 1)]
    return first, picture_target_size(shape, first, MAX_SIZE), lines


def _of_faces(faces: Any) -> tuple[DegradationEstimate | None, int, list[str]]:
    """As `_of_images`, for the largest face; None if there is no face."""
    known = host.known_faces(faces)
    if not known:
        return None, AUTO, ["no face"]
    largest = max(known, key=lambda face: face.side)
    lines = [f"{number}: {face_summary(face)}" for number, face in enumerate(known, 1)]
    return largest.estimate, face_target_size(largest, MAX_SIZE), lines


def _degradation(estimate: DegradationEstimate | None, size: int) -> Degradation:
    """The degradation at this size; noise of 0 if there is no estimate, or an uncertain one."""
    known = estimate.degradation(size) if estimate is not None and estimate.is_sure and size else None
    return known or Noise(0.0)
