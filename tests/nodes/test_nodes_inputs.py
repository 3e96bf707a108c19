"""IMAGEs, MASKs and boxes as hosts and other packs really give them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import ROOT

from pulse_core.faces.warping import resize
from pulse_core.pictures.images import read_image


@pytest.fixture(scope="module")
def photograph():
    """IMAGE [1, 200, 200, 3] with one face of 66 pixels."""
    picture = resize(read_image(ROOT / "samples" / "eileen_collins.jpg"), 200, 200).clamp(0, 1)
    return picture.movedim(0, -1)[None].contiguous()


@pytest.fixture(scope="module")
def two(photograph):
    """IMAGE [1, 200, 400, 3] with a face in each half."""
    return torch.cat([photograph, photograph.flip(2)], dim=2)


@pytest.fixture
def calls(pack, generator, gaussian, photograph):
    """One call of every node that takes an IMAGE or a MASK, as functions of a conversion of these."""
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=photograph, size=64)
    mask = torch.zeros(1, 200, 200)
    mask[:, 20:160, 20:180] = 1
    (degradation,) = pack.run("PULSEDegradation", kind="blur")
    search = {"stylegan": generator, "gaussian": gaussian, "steps": 1, "preview_every": 0}
    small, several = photograph[:, 40:72, 84:116], torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    paste = {"faces": faces, "enlarge": 1.5, "color_match": 0.5}
    return {
        "PULSEAlignFaces": lambda cast: {"image": cast(photograph), "mask": cast(mask), "size": 48},
        "PULSEPasteFaces": lambda cast: {**paste, "image": cast(photograph), "restored": cast(aligned)},
        "PULSESearch": lambda cast: {**search, "image": cast(photograph), "lr_size": 8},
        "PULSEUncertainty": lambda cast: {"image": cast(several)},
        "PULSEContactSheet": lambda cast: {"image": cast(several), "side": 32},
        "PULSECompare": lambda cast: {"image": cast(several), "result": cast(several), "side": 64},
        "PULSEDegrade": lambda cast: {"image": cast(small), "degradation": degradation},
        "PULSEDegradation": lambda cast: {"kind": "mask", "mask": cast(mask)},
        "PULSEEstimateDegradation": lambda cast: {"image": cast(photograph)},
        "BicubicDownsample": lambda cast: {"image": cast(photograph), "factor": 4},
        "PULSESaveImage": lambda cast: {"image": cast(several)},
    }


def compared(output):
    return output.mask if hasattr(output, "mask") else output


def test_every_node_with_pictures_is_called_here(pack, calls):
    takes = {node for node in pack.nodes for each in pack.schema(node).inputs if each.io_type in ("IMAGE", "MASK")}
    assert takes == set(calls)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_gives_what_its_values_give_in_single(pack, calls, dtype):
    for node, inputs in calls.items():
        theirs = pack.run(node, **inputs(lambda image: image.to(dtype)))
        ours = pack.run(node, **inputs(lambda image: image.to(dtype).float()))
        for output, expected in zip(map(compared, theirs), map(compared, ours), strict=True):
            if isinstance(expected, torch.Tensor):
                assert output.dtype == torch.float32, node
                assert torch.equal(output, expected), node


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_faces_in_half_precision_go_all_the_way(pack, generator, gaussian, photograph, dtype):
    image = photograph.to(dtype)
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=image, size=64)
    wired = {"stylegan": generator, "gaussian": gaussian, "steps": 1, "preview_every": 0}
    result, _, latent, _, _ = pack.run("PULSESearch", image=aligned.to(dtype), faces=faces, **wired)
    again, *_ = pack.run(
        "PULSESearch",
        image=aligned.to(dtype),
        faces=faces,
        init_latent=latent.as_subclass(torch.Tensor).to(dtype),
        **wired,
    )
    assert result.dtype == again.dtype == torch.float32
    pasted, _ = pack.run("PULSEPasteFaces", image=image, restored=result.to(dtype), faces=faces)
    assert pasted.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda image: image[0], "IMAGE input holds a tensor"),
        (lambda image: image[:0], "IMAGE input holds a tensor"),
        (lambda image: image * float("nan"), "holds NaN"),
        (lambda image: image * 255, "values run from"),
    ],
    ids=["no batch", "no image", "NaN", "8 bits"],
)
def test_what_is_no_image_is_refused_by_every_node(pack, calls, change, found):
    for node, inputs in calls.items():
        if any(each.io_type == "IMAGE" for each in pack.schema(node).inputs):
            with pytest.raises(ValueError, match=found):
                pack.run(node, **inputs(lambda value: change(value) if value.ndim == 4 else value))


@pytest.fixture
def in_half(host, monkeypatch):
    """in_half() -> from now on the host is one that was started with --fp16-intermediates."""
    return lambda: monkeypatch.setattr(host.management, "intermediate_dtype", lambda: torch.float16, raising=False)


def test_pictures_are_given_in_the_precision_that_the_host_keeps_them_in(pack, calls, in_half):
    expected = {node: pack.run(node, **inputs(lambda image: image.half())) for node, inputs in calls.items()}
    in_half()
    for node, inputs in calls.items():
        kinds = [output.io_type for output in pack.schema(node).outputs]
        for kind, output, whole in zip(
            kinds, pack.run(node, **inputs(lambda image: image.half())), expected[node], strict=True
        ):
            if kind in ("IMAGE", "MASK"):
                assert output.dtype == torch.float16, node
                assert torch.equal(output, whole.half()), node


def test_what_save_image_writes_of_a_photograph_is_the_same_in_half_precision(pack, photograph, in_half):
    """It multiplies in the precision that it gets, and cuts off."""
    levels = (photograph * 255).round()
    image = levels / 255
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=image, size=64)
    in_half()
    pasted, invented = pack.run("PULSEPasteFaces", image=image, restored=1 - aligned, faces=faces)
    kept = invented[0] == 0
    assert 0.5 < kept.float().mean() < 1
    written = (255.0 * pasted.numpy()).clip(0, 255).astype("uint8")
    assert torch.equal(torch.from_numpy(written)[0][kept], levels[0][kept].byte())


def halves(left, right):
    """MASK [1, 200, 400]."""
    mask = torch.zeros(1, 200, 400)
    mask[:, :, :200], mask[:, :, 200:] = left, right
    return mask


def centres(faces):
    """(image, half of it) of each face."""
    return [(face.picture, int(face.landmarks[:, 0].mean() > 200)) for face in faces]


def test_an_empty_mask_among_others_means_nobody_in_that_image(pack, two):
    frames = two.repeat(3, 1, 1, 1)
    masks = torch.cat([halves(0, 1), halves(0, 0), halves(1, 0)])
    _, faces, _ = pack.run("PULSEAlignFaces", image=frames, mask=masks, size=32)
    assert centres(faces) == [(0, 1), (2, 0)]


def test_masks_that_are_all_empty_count_as_none_and_that_is_said(pack, two, host):
    frames = two.repeat(2, 1, 1, 1)
    for mask in (torch.zeros(1, 64, 64), torch.zeros(2, 200, 400), None):
        _, faces, _ = pack.run("PULSEAlignFaces", image=frames, mask=mask, size=32)
        assert len(faces) == 4
        assert ("mask is empty" in host.texts[-1][1]) is (mask is not None)


def test_masks_of_the_faces_of_one_image_are_joined(pack, two):
    _, faces, _ = pack.run("PULSEAlignFaces", image=two, mask=torch.cat([halves(1, 0), halves(0, 1)]), size=32)
    assert len(faces) == 2
    with pytest.raises(ValueError, match="3 masks for 2 images"):
        pack.run("PULSEAlignFaces", image=two.repeat(2, 1, 1, 1), mask=halves(1, 1).repeat(3, 1, 1))


@pytest.mark.parametrize("shape", [(200, 400), (1, 1, 200, 400)])
def test_masks_of_other_shapes(pack, two, shape):
    _, faces, _ = pack.run("PULSEAlignFaces", image=two, mask=halves(0, 1).reshape(shape), size=32)
    assert centres(faces) == [(0, 1)]


def test_a_mask_for_each_face_of_several_images(pack, two):
    """Three faces of two images, and as many masks; then two faces of two images, both in the second."""
    frames = two.repeat(2, 1, 1, 1)
    _, faces, _ = pack.run("PULSEAlignFaces", image=frames, mask=torch.cat([halves(1, 0), halves(1, 1)]), size=32)
    restored, masks = torch.ones(3, 32, 32, 3), torch.zeros(3, 32, 32)
    masks[1, :, :16] = 1
    _, where = pack.run("PULSEPasteFaces", image=frames, restored=restored, faces=faces, mask=masks)
    assert [bool(each.any()) for each in where] == [False, True]
    _, faces, _ = pack.run("PULSEAlignFaces", image=frames, mask=torch.cat([halves(0, 0), halves(1, 1)]), size=32)
    for chosen in (0, 1):
        mask = torch.zeros(2, 32, 32)
        mask[chosen] = 1
        _, where = pack.run("PULSEPasteFaces", image=frames, restored=restored[:2], faces=faces, mask=mask)
        half = int(faces[chosen].landmarks[:, 0].mean() > 200)
        assert [bool(part.any()) for part in where[1].split(200, dim=1)] == [half == 0, half == 1]


def test_a_mask_for_each_image_leaves_one_out(pack, two):
    frames = two.repeat(2, 1, 1, 1)
    _, faces, _ = pack.run("PULSEAlignFaces", image=frames, size=32)
    masks = torch.cat([halves(0, 0), halves(1, 0)])
    _, where = pack.run("PULSEPasteFaces", image=frames, restored=torch.ones(4, 32, 32, 3), faces=faces, mask=masks)
    assert not bool(where[0].any())
    assert [bool(part.any()) for part in where[1].split(200, dim=1)] == [True, False]


def test_a_degradation_has_one_mask(pack):
    with pytest.raises(ValueError, match="There are 2 masks"):
        pack.run("PULSEDegradation", kind="mask", mask=torch.ones(2, 8, 8))
    (flat,) = pack.run("PULSEDegradation", kind="mask", mask=torch.eye(8))
    assert flat.name == "mask"


def box(x, y=10, width=180, height=180):
    return {"x": x, "y": y, "width": width, "height": height, "metadata": {"text": ""}}


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (box(210), [(0, 1), (1, 1)]),
        ([box(210.5, -20.0, 500.0)], [(0, 1), (1, 1)]),
        ([[box(10)]], [(0, 0), (1, 0)]),
        ([[box(10)], [box(210)]], [(0, 0), (1, 1)]),
        ([[], [box(10), box(210)]], [(1, 0), (1, 1)]),
        ([], [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ([[], []], [(0, 0), (0, 1), (1, 0), (1, 1)]),
    ],
)
def test_boxes_say_which_faces(pack, two, boxes, expected):
    _, faces, _ = pack.run("PULSEAlignFaces", image=two.repeat(2, 1, 1, 1), boxes=boxes, size=32)
    assert sorted(centres(faces)) == expected


def test_a_box_and_a_mask_add_up(pack, two):
    mask = halves(1, 0)
    _, faces, _ = pack.run("PULSEAlignFaces", image=two.repeat(2, 1, 1, 1), mask=mask, boxes=[[], [box(210)]], size=32)
    assert sorted(centres(faces)) == [(0, 0), (1, 0), (1, 1)]
    assert torch.equal(mask, halves(1, 0)), "inputs are left as they were"


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        (box(900), r"box of 180x180 pixels at 900, 10 lies outside of the image \(400x200\)"),
        (box(float("nan")), "nan"),
        ({"x": 1, "y": 2}, "boxes hold"),
        ("10,10,20,20", "boxes hold '10,10"),
        ([10, 10, 20, 20], "boxes hold"),
        ([[box(10)]] * 3, "boxes of 3 images for 2"),
    ],
)
def test_what_is_no_box_is_refused(pack, two, boxes, found):
    with pytest.raises(ValueError, match=found):
        pack.run("PULSEAlignFaces", image=two.repeat(2, 1, 1, 1), boxes=boxes, size=32)


@pytest.mark.parametrize("number", [np.float32, np.int64, torch.tensor, float, int])
def test_boxes_may_hold_the_numbers_of_any_detector(pack, two, number):
    right = {"x": number(210), "y": number(10), "width": number(180), "height": number(180)}
    _, faces, _ = pack.run("PULSEAlignFaces", image=two, boxes=right, size=32)
    assert centres(faces) == [(0, 1)]


@pytest.mark.parametrize("shape", [(200, 400), (1, 1, 200, 400), (1, 200, 400, 1)])
def test_masks_may_have_the_shapes_of_other_packs(pack, two, shape):
    _, faces, _ = pack.run("PULSEAlignFaces", image=two, mask=halves(0, 1).reshape(shape), size=32)
    assert centres(faces) == [(0, 1)]


def test_a_restored_face_that_is_no_square_is_refused(pack, photograph):
    aligned, faces, _ = pack.run("PULSEAlignFaces", image=photograph, size=64)
    with pytest.raises(ValueError, match="restored face is 64x56"):
        pack.run("PULSEPasteFaces", image=photograph, restored=aligned[:, :56], faces=faces)


def paste_into(pack, original, changed):
    _, faces, _ = pack.run("PULSEAlignFaces", image=original, size=32)
    return pack.run("PULSEPasteFaces", image=changed, restored=torch.ones(1, 32, 32, 3), faces=faces)


def scaled(image, height, width):
    return resize(image[0].movedim(-1, 0), height, width).clamp(0, 1).movedim(0, -1)[None]


@pytest.mark.parametrize(
    ("height", "width", "multiple"), [(199, 199, 8), (197, 196, 8), (190, 199, 16), (199, 198, 64)]
)
@pytest.mark.parametrize("factor", [1, 2])
def test_a_picture_that_a_vae_cropped_is_refused_and_a_resized_one_is_not(
    pack, photograph, height, width, multiple, factor
):
    original = photograph[:, :height, :width]
    rows, columns = height // multiple * multiple, width // multiple * multiple
    top, left = (height - rows) // 2, (width - columns) // 2
    cropped = original[:, top : top + rows, left : left + columns]
    cropped = scaled(cropped, factor * rows, factor * columns) * 0.95 + 0.02
    with pytest.raises(ValueError, match=rf"{columns * factor}x{rows * factor}\) is a crop of .*{width}x{height}"):
        paste_into(pack, original, cropped)
    if height == width:
        pasted, _ = paste_into(pack, original, scaled(original, factor * rows, factor * columns))
        assert pasted.shape[1:3] == (factor * rows, factor * columns)


@pytest.mark.parametrize(("height", "width", "multiple"), [(199, 199, 8), (197, 196, 16), (190, 186, 64)])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("mode", ["constant", "replicate", "reflect"])
def test_a_picture_that_was_padded_is_refused(pack, photograph, height, width, multiple, centred, mode):
    original = photograph[:, :height, :width]
    down, right = -height % multiple, -width % multiple
    top, left = (down // 2, right // 2) if centred else (0, 0)
    sides = (left, right - left, top, down - top)
    padded = torch.nn.functional.pad(original.movedim(-1, 1), sides, mode=mode).movedim(1, -1)
    with pytest.raises(ValueError, match=rf"{width + right}x{height + down}\) is a padded copy of .*{width}x{height}"):
        paste_into(pack, original, padded)


def test_a_picture_that_was_cropped_at_its_right_and_bottom_is_refused(pack, photograph):
    original = photograph[:, :199, :197]
    with pytest.raises(ValueError, match=r"192x192\) is a crop of .*197x199"):
        paste_into(pack, original, original[:, :192, :192])


def sheet(pack, captions, count=2, **inputs):
    return pack.run("PULSEContactSheet", image=torch.zeros(count, 32, 32, 3), side=64, captions=captions, **inputs)[0]


@pytest.mark.parametrize("captions", ["a\nb\n", "a\nb\n\n\n", "a\r\nb\r\n  \r\n"])
def test_blank_lines_after_the_captions_do_not_count(pack, captions):
    assert torch.equal(sheet(pack, captions), sheet(pack, "a\nb"))


def test_blank_lines_among_the_captions_are_images_without_one(pack):
    assert not torch.equal(sheet(pack, "\na"), sheet(pack, "a\n\n"))
    assert torch.equal(sheet(pack, "a\n"), sheet(pack, "a\n\n"))
    assert torch.equal(sheet(pack, " \n\n"), sheet(pack, "1\n2")), "all blank: numbers"
    with pytest.raises(ValueError, match="3 captions were given for 2"):
        sheet(pack, "a\nb\nc")
    with pytest.raises(ValueError, match="1 captions were given for 2"):
        sheet(pack, "a")


def test_blank_captions_leave_the_reports(pack):
    report = json.dumps({"images": [{"image": 0, "seed": number, "converged": True} for number in range(2)]})
    assert torch.equal(sheet(pack, "\n", report=report), sheet(pack, "", report=report))


def test_a_mask_that_only_leaves_one_out_does_not_lower_the_threshold(pack):
    """On the wall of this photograph the detector sees a face with a score of 0.8."""
    image = read_image(ROOT / "samples" / "group_1927.jpg")[:, 150:, 650:].movedim(0, -1)[None]
    whole = torch.ones(1, *image.shape[1:3])
    _, everybody, _ = pack.run("PULSEAlignFaces", image=image, size=32)
    _, masked, _ = pack.run("PULSEAlignFaces", image=image, mask=whole, size=32)
    assert [face.score for face in masked] == [face.score for face in everybody]
    whole[..., : image.shape[2] // 2 + 1] = 0
    _, marked, _ = pack.run("PULSEAlignFaces", image=image, mask=whole, size=32)
    assert min(face.score for face in marked) < 0.9
