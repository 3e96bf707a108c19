"""Photographs through the nodes: found, searched at their own size, put back; in inference mode as in the host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from pulse_core.faces.warping import resize
from pulse_core.pictures.images import read_image

NEAR_24 = (20, 24, 32)  # estimation.SIZES around it


@pytest.fixture(scope="module")
def photograph():
    """IMAGE [1, 256, 256, 3] with one face of 84 pixels."""
    picture = resize(read_image(ROOT / "samples" / "eileen_collins.jpg"), 256, 256).clamp(0, 1)
    return picture.movedim(0, -1)[None].contiguous()


@pytest.fixture
def found(pack, photograph):
    """(aligned, faces, preview) of the photograph, as the node gives them."""
    return pack.run("PULSEAlignFaces", image=photograph, size=64)


@pytest.fixture
def search(pack, generator, gaussian):
    def run(**inputs):
        wired = {"stylegan": generator, "gaussian": gaussian, "steps": 2, "preview_every": 0}
        result, small, latent, report, residual = pack.run("PULSESearch", **{**wired, **inputs})
        return result, small, latent, json.loads(report), residual

    return run


def frames_of(photograph):
    """Three frames: the face, nothing, and two faces."""
    two = photograph.clone()
    small = resize(photograph[0].movedim(-1, 0), 128, 128).clamp(0, 1).movedim(0, -1)
    two[0, 128:, 128:] = small
    return torch.cat([photograph, torch.full_like(photograph, 0.5), two])


def test_a_photograph_end_to_end(pack, photograph, found, search):
    aligned, faces, preview = found
    assert aligned.shape == (1, 64, 64, 3)
    assert preview.shape == (1, 512, 512, 3)
    result, small, _, report, _ = search(image=aligned, faces=faces)
    assert result.shape == (1, 32, 32, 3)
    assert small.shape == (1, 32, 32, 3)
    assert report["images"][0]["lr_size"] == 32
    restored, invented = pack.run("PULSEPasteFaces", image=photograph, restored=result, faces=faces)
    assert restored.shape == photograph.shape
    assert restored.dtype == invented.dtype == torch.float32
    assert invented.shape == (1, 256, 256)
    assert torch.equal(restored[invented == 0], photograph[invented == 0])
    assert not torch.equal(restored, photograph)


def test_the_nodes_say_what_they_found(found, search, host):
    aligned, faces, _ = found
    search(image=aligned, faces=faces, lr_size=20)
    texts = {node: text for node, text, _ in host.texts}
    assert re.match(r"1: 8\d px, holds \d+(, noise 0\.\d+)?, score [01]\.\d+", texts["PULSEAlignFaces"])
    assert texts["PULSESearch"].startswith("1: L2 0.")
    assert f"matched at 20 of {faces[0].side:.0f} pixels)" in texts["PULSESearch"]


def test_of_a_face_below_12_pixels_nothing_is_said(pack, photograph, host):
    words = {}
    for width in (5, 20):
        middle, half = 128, width / 4
        points = [(-half, -half), (half, -half), (0, 0), (-half, half), (half, half)]
        text = " ".join(f"{middle + x:.1f},{middle + y:.1f}" for x, y in points)
        _, faces, _ = pack.run("PULSEAlignFaces", image=photograph, landmarks=text, size=32)
        words[round(faces[0].side)] = host.texts[-1][1]
    small, large = sorted(words)
    assert small < 12 < large
    assert words[small].startswith(f"1: {small} px, too small")
    assert "too small" not in words[large]


def test_the_size_of_a_target_can_be_chosen_without_faces(search, photograph):
    result, small, _, report, _ = search(image=photograph, lr_size=8)
    assert result.shape == (1, 32, 32, 3)
    assert small.shape == (1, 8, 8, 3)
    assert report["images"][0]["lr_size"] == 8


def test_every_face_is_matched_at_its_own_size(pack, photograph, search):
    frames = frames_of(photograph)
    frames[2, 128:, 128:] = 0.5
    tiny = resize(photograph[0].movedim(-1, 0), 60, 60).clamp(0, 1).movedim(0, -1)
    frames[2] = 0.5
    frames[2, 100:160, 100:160] = tiny
    aligned, faces, preview = pack.run("PULSEAlignFaces", image=frames, size=64)
    assert preview.shape == (3, 512, 512, 3)
    assert [face.picture for face in faces] == [0, 2]
    result, small, latent, report, residual = search(image=aligned, faces=faces)
    sizes = [row["lr_size"] for row in report["images"]]
    assert sizes == [min(face.estimate.size, 32) for face in faces]
    assert sizes[1] < sizes[0] == 32
    assert [row["estimate"]["summary"] for row in report["images"]] == [face.estimate.summary for face in faces]
    assert [row["image"] for row in report["images"]] == [0, 1]
    assert small.shape == (2, 32, 32, 3)
    assert len(latent) == len(result) == len(residual) == 2
    _, known, _ = pack.run("PULSEAlignFaces", image=frames[2:], size=64)
    alone, *_ = search(image=aligned[1:], faces=known)
    assert torch.equal(alone[0], result[1])


@pytest.fixture
def targets(pack, generator):
    """targets(image, faces, degradation, lr_size): what the search node would match."""

    def of(image, faces=None, degradation=None, lr_size=0):
        gradients = pack.submodule("nodes.host").gradients
        with gradients():
            return pack.submodule("nodes.targets").targets_of(image, faces, lr_size, generator, degradation)

    return of


def test_what_the_alignment_adds_beyond_a_photographs_border_is_hidden_from_the_search(pack, photograph, targets):
    (grey,) = pack.run("PULSEDegradation", kind="grey")
    aligned, border, _ = pack.run("PULSEAlignFaces", image=photograph, landmarks="10,95 40,96 25,115 15,130 38,131")
    (measured,), (chosen,) = targets(aligned, border), targets(aligned, border, grey)
    mask = getattr(measured.degradation, "parts", [measured.degradation])[-1]
    assert (mask.name, 0 < float(mask.weight_map(torch.zeros(1, 3, 16, 16)).mean()) < 1) == ("mask", True)
    assert [part.name for part in chosen.degradation.parts] == ["grey", "mask"]


def test_a_connected_degradation_replaces_the_measured_one(pack, photograph, targets):
    grain = 0.1 * torch.randn(photograph.shape[:3], generator=torch.Generator().manual_seed(1))[..., None]
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=(photograph + grain).clamp(0, 1), size=64)
    (measured,) = targets(aligned, faces)
    assert str(measured.degradation) == str(faces[0].estimate.degradation(measured.picture.shape[-1]))
    assert "noise" in str(measured.degradation)
    (blur,) = pack.run("PULSEDegradation", kind="blur")
    (chosen,) = targets(aligned, faces, blur)
    assert chosen.degradation is blur
    (overridden,) = targets(aligned, faces, lr_size=20)
    assert overridden.picture.shape == (3, 20, 20)
    assert str(overridden.degradation) == str(faces[0].estimate.degradation(20)), "at the size that is matched"


@pytest.mark.parametrize("connected", [None, "noise"])
def test_a_grey_photograph_gives_grey_faces(pack, photograph, search, connected):
    grey = photograph.mean(-1, keepdim=True).expand(photograph.shape).contiguous()
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=grey, size=64)
    assert faces[0].estimate.is_grey
    given = {} if connected is None else {"degradation": pack.run("PULSEDegradation", kind=connected)[0]}
    result, _, _, report, _ = search(image=aligned, faces=faces, solutions=2, **given)
    assert float((result.amax(-1) - result.amin(-1)).max()) == 0
    assert report["images"][0]["estimate"]["is_grey"]
    assert ("grey" in (report["images"][0]["degradation"] or "")) is (connected is None)
    pasted, _ = pack.run("PULSEPasteFaces", image=grey, restored=result[:1], faces=faces)
    assert float((pasted.amax(-1) - pasted.amin(-1)).max()) == 0


def enlarged(photograph, size, side):
    """The face alone, shrunk to `size` pixels and enlarged to `side`: IMAGE."""
    face = photograph[:, 40:168, 64:192].movedim(-1, 1)
    small = torch.nn.functional.interpolate(face, (size, size), mode="bicubic", antialias=True)
    return resize(small[0], side, side).clamp(0, 1).movedim(0, -1)[None].contiguous()


def test_an_enlarged_image_is_matched_at_its_effective_size(photograph, search, host):
    """The generator makes 32 pixels; 24 of the 256 are estimate."""
    _, small, _, report, _ = search(image=enlarged(photograph, 24, 256))
    (row,) = report["images"]
    assert row["lr_size"] in NEAR_24
    assert row["estimate"]["size"] == row["lr_size"] == small.shape[1]
    assert row["estimate"]["summary"].startswith(f"holds {row['lr_size']} of 256 pixels")
    assert f"matched at {row['lr_size']} of 256 pixels)" in host.texts[-1][1]


@pytest.mark.parametrize("size", [8, 24])
def test_a_tiny_image_is_matched_as_it_is(photograph, search, targets, host, size):
    image = enlarged(photograph, size, size)
    assert torch.equal(targets(image)[0].picture, image[0].movedim(-1, 0))
    _, small, _, report, _ = search(image=image)
    assert small.shape == (1, size, size, 3)
    assert (report["images"][0]["estimate"] is None) is (size < 16)
    assert f"{size}x{size})" in host.texts[-1][1]


def test_a_chosen_size_and_a_degradation_of_the_images_own_pixels_override(pack, photograph, targets):
    image = enlarged(photograph, 24, 256)
    (chosen,) = targets(image, lr_size=12)
    assert (chosen.picture.shape, chosen.summary) == ((3, 12, 12), "matched at 12 of 256 pixels")
    (blur,) = pack.run("PULSEDegradation", kind="blur")
    (own,) = targets(image, degradation=blur)
    assert (own.picture.shape[-1], own.degradation) == (256, blur)
    (both,) = targets(image, degradation=blur, lr_size=24)
    assert (both.picture.shape[-1], both.degradation) == (24, blur)


def test_each_image_of_a_batch_has_its_own_size(photograph, targets):
    """The pack's larger generators would tell them apart further; this one makes 32 pixels."""
    soft, softer = enlarged(photograph, 32, 256), enlarged(photograph, 16, 256)
    sizes = [target.picture.shape[-1] for target in targets(torch.cat([soft, softer]))]
    assert sizes[0] > sizes[1]


def test_an_image_of_another_shape_raises(photograph, search):
    with pytest.raises(ValueError, match=r"The target is 256x128; tiny makes 32x32"):
        search(image=photograph[:, :128])


def test_frames_keep_their_faces(pack, photograph):
    frames = frames_of(photograph)
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=frames, size=32)
    assert [face.picture for face in faces] == [0, 2, 2]
    white = torch.ones(3, 32, 32, 3)
    restored, invented = pack.run("PULSEPasteFaces", image=frames, restored=white, faces=faces)
    assert torch.equal(restored[1], frames[1])
    assert [bool(part.any()) for part in invented] == [True, False, True]
    second_only, where = pack.run("PULSEPasteFaces", image=frames, restored=white, faces=faces, which="2")
    assert torch.equal(second_only[0], frames[0])
    assert 0 < float(where[2].sum()) < float(invented[2].sum())
    assert len(aligned) == 3


def test_without_a_face_it_stops_or_lets_the_image_pass(pack, search):
    nothing = torch.full((2, 90, 120, 3), 0.4)
    with pytest.raises(ValueError, match=r"No face.*120x90"):
        pack.run("PULSEAlignFaces", image=nothing)
    aligned, faces, preview = pack.run("PULSEAlignFaces", image=nothing, size=32, no_face="pass through")
    assert (len(aligned), len(faces), len(preview)) == (1, 0, 2)
    result, small, _, report, residual = search(image=aligned, faces=faces)
    assert torch.equal(result, aligned)
    assert torch.equal(small, aligned)
    assert torch.equal(residual, torch.full_like(aligned, 0.5)), "grey: there is none"
    assert report["images"] == []
    restored, invented = pack.run("PULSEPasteFaces", image=nothing, restored=result, faces=faces)
    assert torch.equal(restored, nothing)
    assert not bool(invented.any())
    larger, _ = pack.run("PULSEPasteFaces", image=nothing, restored=result, faces=faces, enlarge=2.0)
    assert larger.shape == (2, 180, 240, 3)


def test_a_mask_or_five_points_say_which_face(pack, photograph, found):
    two = frames_of(photograph)[2:]
    _, both, _ = pack.run("PULSEAlignFaces", image=two)
    assert len(both) == 2
    mask = torch.zeros(1, 256, 256)
    x, y = both[1].landmarks.mean(0).long().tolist()
    mask[0, y - 15 : y + 15, x - 15 : x + 15] = 1
    _, masked, _ = pack.run("PULSEAlignFaces", image=two, mask=mask)
    assert len(masked) == 1
    assert float((masked[0].quad - both[1].quad).norm(dim=-1).mean()) < 2
    _, unmasked, _ = pack.run("PULSEAlignFaces", image=two, mask=torch.zeros(1, 64, 64))
    assert len(unmasked) == 2, "the host's empty mask is none"
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in both[1].landmarks.tolist())
    _, marked, _ = pack.run("PULSEAlignFaces", image=two, landmarks=text)
    assert float((marked[0].quad - both[1].quad).norm(dim=-1).mean()) < 0.5


def test_faces_of_another_image_are_refused(pack, photograph, found):
    aligned, faces, _ = found
    other = photograph.flip(0).flip(1)
    with pytest.raises(ValueError, match="256x256"):
        pack.run("PULSEPasteFaces", image=other, restored=aligned, faces=faces)
    with pytest.raises(ValueError, match=r"1 faces of 1 images.*2 images, 1 restored"):
        pack.run("PULSEPasteFaces", image=torch.cat([photograph] * 2), restored=aligned, faces=faces)
    with pytest.raises(ValueError, match="given are 1 images, 3 restored faces"):
        pack.run("PULSEPasteFaces", image=photograph, restored=torch.cat([aligned] * 3), faces=faces)


def test_what_is_no_faces_is_refused(pack, photograph, found, search):
    with pytest.raises(ValueError, match="The FACES input holds a dict"):
        pack.run("PULSEPasteFaces", image=photograph, restored=found[0], faces={})
    with pytest.raises(ValueError, match="There are 2 images and 1 faces"):
        search(image=torch.cat([found[0]] * 2), faces=found[1])


@pytest.mark.parametrize("which", ["0", "2", "none", "1,2"])
def test_faces_that_are_not_there_cannot_be_chosen(pack, photograph, found, which):
    aligned, faces, _ = found
    with pytest.raises(ValueError, match="all, or numbers from 1 to 1"):
        pack.run("PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, which=which)


def test_an_enlarged_photograph_may_come_from_another_upscaler(pack, photograph, found):
    aligned, faces, _ = found
    larger = resize(photograph[0].movedim(-1, 0), 512, 512).clamp(0, 1).movedim(0, -1)[None]
    before, where = pack.run("PULSEPasteFaces", image=larger, restored=aligned, faces=faces)
    after, _ = pack.run("PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, enlarge=2.0)
    assert before.shape == after.shape == (1, 512, 512, 3)
    assert float((before - after).abs().mean()) < 0.005
    assert bool(where.any())


def test_grain_is_laid_over_the_restored_face(pack, photograph):
    noise = 0.08 * torch.randn(photograph.shape[:3], generator=torch.Generator().manual_seed(1))[..., None]
    image = (photograph + noise).clamp(0, 1)
    _, faces, _ = pack.run("PULSEAlignFaces", image=image, size=64)
    assert faces[0].estimate.noise > 0.04
    flat = torch.full((1, 64, 64, 3), 0.5)
    spreads = []
    for grain in (0.0, 0.5, 1.0):
        pasted, where = pack.run("PULSEPasteFaces", image=image, restored=flat, faces=faces, grain=grain)
        spreads.append(float(pasted[where == 1].std()))
    assert spreads[0] < 0.01 < spreads[1] < spreads[2]


def test_where_faces_overlap_neither_covers_the_other(pack, photograph):
    """Of two faces close together, each keeps its middle, whichever is laid in last."""
    text = " ".join(
        f"{x + shift},{y}" for shift in (0, 40) for x, y in ((100, 100), (130, 100), (115, 118), (103, 132), (127, 132))
    )
    _, faces, _ = pack.run("PULSEAlignFaces", image=photograph, landmarks=text)
    colours = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 64, 64, 3)
    pasted, _ = pack.run("PULSEPasteFaces", image=photograph, restored=colours, faces=faces, grain=0.0)
    for number, face in enumerate(faces):
        x, y = face.quad.mean(0).long().tolist()
        assert float((pasted[0, y, x] - colours[number, 0, 0]).abs().max()) < 0.1


def test_a_mask_replaces_the_seam(pack, photograph, found):
    aligned, faces, _ = found
    left = torch.zeros(1, 64, 64)
    left[:, :, :32] = 1
    _, whole = pack.run("PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, feather=0.0)
    _, half = pack.run("PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, mask=left)
    assert float(half.sum()) == pytest.approx(float(whole.sum()) / 2, rel=0.05)
    _, empty = pack.run(
        "PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, feather=0.0, mask=torch.zeros(1, 64, 64)
    )
    assert torch.equal(empty, whole), "the host's empty mask is none"
    with pytest.raises(ValueError, match="5 masks"):
        pack.run("PULSEPasteFaces", image=photograph, restored=aligned, faces=faces, mask=torch.ones(5, 64, 64))


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha(pack, photograph, channels):
    image = photograph.mean(-1, keepdim=True)
    if channels == 4:
        image = torch.cat([photograph, torch.linspace(0.5, 1, 256).expand(1, 256, 256)[..., None]], dim=-1)
    aligned, faces, preview = pack.run("PULSEAlignFaces", image=image, size=64)
    assert len(faces) == 1
    assert aligned.shape[-1] == preview.shape[-1] == 3
    restored, _ = pack.run("PULSEPasteFaces", image=image, restored=aligned, faces=faces)
    assert restored.shape[-1] == (4 if channels == 4 else 3)
    if channels == 4:
        assert torch.equal(restored[..., 3], image[..., 3])


@pytest.mark.parametrize("size", [(1, 1), (300, 5000)])
def test_odd_sizes(pack, size):
    image = torch.full((1, *size, 3), 0.5)
    _, faces, preview = pack.run("PULSEAlignFaces", image=image, no_face="pass through")
    assert not faces
    assert max(preview.shape) <= 1024


def test_inputs_are_left_as_they_were(pack, photograph, found):
    aligned, faces, _ = found
    before = photograph.clone(), aligned.clone()
    pack.run("PULSEPasteFaces", image=photograph, restored=torch.ones_like(aligned), faces=faces, color_match=1.0)
    assert torch.equal(photograph, before[0])
    assert torch.equal(aligned, before[1])


def test_an_interrupt_stops_between_frames(pack, photograph, host):
    frames = torch.cat([photograph] * 3)
    host.interrupt_at = 1
    with pytest.raises(host.management.InterruptProcessingException):
        pack.run("PULSEAlignFaces", image=frames)
    assert len(host.updates) <= 2


# Every large block on its own, returned as it is freed, so that what is resident is what is in use.
MEASURED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self")
def test_memory_does_not_grow_with_frames_beyond_the_frames():
    """In a process of its own, whose memory nothing else has touched."""
    measurement = f"{__file__}::{measure_frames.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-o", "python_functions=measure_*", measurement]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **MEASURED})
    assert done.returncode == 0, done.stdout


def measure_frames(pack, photograph):
    """The peak above inputs and outputs is that of one frame, however many there are."""
    large = resize(photograph[0].movedim(-1, 0), 600, 600).clamp(0, 1).movedim(0, -1)[None]
    frame, beyond = large.nbytes, {}
    for count in (1, 2, 6):  # the first is to have everything loaded
        frames = large.repeat(count, 1, 1, 1)
        before = peak_from_now()
        aligned, faces, preview = pack.run("PULSEAlignFaces", image=frames, size=256)
        found = peak() - before - aligned.nbytes - preview.nbytes
        before = peak_from_now()
        outputs = pack.run("PULSEPasteFaces", image=frames, restored=aligned, faces=faces)
        beyond[count] = max(found, peak() - before - sum(output.nbytes for output in outputs))
    assert beyond[6] - beyond[2] < 2 * frame, beyond


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


def peak():
    return resident("VmHWM")


def peak_from_now():
    """Starts a new peak; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def test_the_detector_is_not_offered_as_a_generator(pack, monkeypatch):
    monkeypatch.delenv("PULSE_WEIGHTS")
    pack.register()
    combo = next(socket for socket in pack.schema("LoadStyleGAN").inputs if socket.id == "stylegan_file")
    assert not [name for name in combo.metadata["options"] if "mtcnn" in name]


@pytest.mark.parametrize(("value", "found"), [(255.0, "values run from"), (float("nan"), "NaN or infinite values")])
def test_values_that_are_no_colours_raise(pack, photograph, search, value, found):
    image = photograph * value
    with pytest.raises(ValueError, match=found):
        pack.run("PULSEAlignFaces", image=image)
    with pytest.raises(ValueError, match=found):
        search(image=image, lr_size=8)
