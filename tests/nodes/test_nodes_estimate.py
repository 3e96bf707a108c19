"""What happened to a picture, measured by a node and looked through by the search; in inference mode as in the host."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import ROOT
from torch.nn import functional as F

from pulse_core.pictures.images import read_image

NEAR_24 = (20, 24, 32)  # estimation.SIZES around it


@pytest.fixture(scope="module")
def face():
    """[1, 3, 256, 256], sharp."""
    photograph = read_image(ROOT / "samples" / "eileen_collins.jpg")[:, 80:336, 128:384]
    return photograph[None].clone()


def image_of(face, size, side, noise=0.0):
    """Shrunk to `size` pixels, enlarged to `side`, with noise: IMAGE."""
    small = F.interpolate(face, (size, size), mode="bicubic", antialias=True)
    large = F.interpolate(small, (side, side), mode="bicubic")
    grain = noise * torch.randn(large.shape, generator=torch.Generator().manual_seed(1))
    return (large + grain).clamp(0, 1).movedim(1, -1).contiguous()


@pytest.fixture
def estimate(pack):
    return lambda **inputs: pack.run("PULSEEstimateDegradation", **inputs)


def test_effective_size_and_remaining_noise_of_an_image(face, estimate, host):
    image = torch.cat([image_of(face, 24, 256, 0.1), image_of(face, 96, 256)])
    degradation, size, text = estimate(image=image)
    assert size in NEAR_24
    assert "noise" in str(degradation)
    first, second = text.splitlines()
    assert first.startswith(f"1: holds {size} of 256 pixels, ")
    assert "noise 0.0" in first or "noise 0.1" in first
    assert second.startswith("2: holds ")
    assert host.texts[-1][:2] == ("PULSEEstimateDegradation", text)


def test_at_a_larger_size_more_noise_is_left(face, estimate):
    image = image_of(face, 24, 256, 0.1)
    said = {}
    for lr_size in (16, 64):
        degradation, size, _ = estimate(image=image, lr_size=lr_size)
        assert size == lr_size
        (noise,) = [part for part in getattr(degradation, "parts", [degradation]) if part.name == "noise"]
        said[size] = noise.std
    assert said[16] < said[64]


def test_where_there_is_nothing_the_degradation_changes_nothing(pack, estimate):
    flat = torch.full((1, 32, 32, 3), 0.5)
    degradation, size, text = estimate(image=flat)
    assert (str(degradation), size) == ("noise(0)", 32)
    assert "uncertain" in text
    (same,) = pack.run("PULSEDegrade", image=flat, degradation=degradation)
    assert torch.equal(same, flat)


def test_with_faces_the_largest_decides(pack, face, estimate):
    photograph = torch.full((1, 300, 500, 3), 0.5)
    photograph[:, :256, :256] = image_of(face, 256, 256)
    photograph[:, 100:228, 300:428] = image_of(face, 128, 128).mean(-1, keepdim=True)
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=photograph, size=64)
    assert len(faces) == 2
    degradation, size, text = estimate(image=aligned, faces=faces)
    largest = faces[0].estimate
    assert size == min(largest.size, 128)
    assert str(degradation) == str(largest.degradation(size) or "noise(0)")
    assert [line.split(" px, ")[0] for line in text.splitlines()] == [
        f"{number}: {face.side:.0f}" for number, face in enumerate(faces, 1)
    ]
    _, none, _ = pack.run("PULSEAlignFaces", image=photograph[:, :90] * 0, size=64, no_face="pass through")
    degradation, size, text = estimate(image=aligned, faces=none)
    assert (str(degradation), size, text) == ("noise(0)", 0, "no face")


def test_the_search_takes_what_it_gives(pack, face, estimate, generator, gaussian):
    image = image_of(face, 24, 256, 0.1)
    degradation, size, _ = estimate(image=image)
    wired = {"stylegan": generator, "gaussian": gaussian, "steps": 2, "preview_every": 0}
    _, small, _, report, _ = pack.run("PULSESearch", image=image, degradation=degradation, lr_size=size, **wired)
    assert small.shape[1] == size
    told = json.loads(report)
    assert told["images"][0]["degradation"] == str(degradation)
    assert told["images"][0]["lr_size"] == size


def test_an_image_too_small_for_an_estimate_raises(estimate):
    with pytest.raises(ValueError, match="at least 16 pixels a side"):
        estimate(image=torch.rand(1, 8, 8, 3))
