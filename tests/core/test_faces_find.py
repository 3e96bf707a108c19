"""Face detection and alignment: MTCNN against its reference, rotations, masks, landmarks, invalid input."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT

from pulse_core.errors import ImageError, SettingError
from pulse_core.faces import networks
from pulse_core.faces.alignment import align, draw_faces
from pulse_core.faces.detection import WEIGHTS, _suppress, _weights, detect
from pulse_core.faces.face import Face, Faces, Source, ffhq_quad
from pulse_core.faces.finding import FindSettings, find_faces, marked_faces
from pulse_core.faces.warping import resize
from pulse_core.latents.sampling import sample
from pulse_core.pictures.images import read_image

PHOTOGRAPHS = ("eileen_collins", "grace_hopper")


@pytest.fixture(scope="module")
def photographs():
    return {name: read_image(ROOT / "samples" / f"{name}.jpg") for name in PHOTOGRAPHS}


@pytest.fixture(scope="module")
def eileen(photographs):
    return photographs["eileen_collins"]


def corner_distance(quad, other):
    """The mean distance between the corners of two quads, relative to the side."""
    return float((quad - other).norm(dim=-1).mean() / (other[3] - other[0]).norm())


@pytest.mark.parametrize("name", ["pnet", "rnet", "onet"])
def test_mtcnn_networks_match_the_reference(golden, name):
    numbers, weights = golden("mtcnn"), _weights(torch.device("cpu"))
    run = {"pnet": networks.proposal, "rnet": networks.refinement, "onet": networks.output}[name]
    for key, found in zip(("scores", "offsets", "points"), run(weights, numbers[f"{name}.x"]), strict=False):
        torch.testing.assert_close(found, numbers[f"{name}.{key}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_landmarks_match_the_reference(golden, photographs, name):
    (face,) = detect(photographs[name])
    expected = golden("mtcnn")[f"{name}.points"]
    error = (face.landmarks - expected).norm(dim=-1)
    assert float(error.max()) < 0.05 * float(expected[3:].mean(0).sub(expected[:2].mean(0)).norm())
    assert face.score > 0.99


def test_shipped_weights_come_with_their_licence():
    notice = (WEIGHTS.parent / "LICENSE").read_text(encoding="utf-8")
    assert "MIT License" in notice
    assert "Timothy Esler" in notice


@pytest.mark.weights
def test_the_quad_of_a_generated_face_is_the_full_picture(ffhq_mobile):
    """Generators trained on FFHQ draw aligned faces, so the quad that is found is the picture."""
    full = torch.tensor([[0, 0], [0, 1024], [1024, 1024], [1024, 0]], dtype=torch.float64)
    errors = []
    for image, _ in sample(ffhq_mobile, list(range(1000, 1003)), 0.7):
        (face,) = find_faces([image], FindSettings(max_faces=1, min_face_size=100))
        errors.append(corner_distance(face.quad, full))
    assert sum(errors) / len(errors) < 0.025
    assert max(errors) < 0.06


@pytest.mark.parametrize(("shift", "size"), [((3, 1), 1.0), ((0, 0), 0.7), ((2, 5), 1.3)])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_quad_is_stable_under_shifts_and_scaling(photographs, name, shift, size):
    """Shifting or scaling the photograph moves the quad by at most 1 % of its side."""
    photograph = photographs[name]
    (face,) = find_faces([photograph])
    height, width = photograph.shape[-2:]
    moved = photograph[:, shift[1] :, shift[0] :]
    moved = resize(moved, round(moved.shape[-2] * size), round(moved.shape[-1] * size)).clamp(0, 1)
    (again,) = find_faces([moved])
    scale = torch.tensor([moved.shape[-1] / (width - shift[0]), moved.shape[-2] / (height - shift[1])])
    assert corner_distance(again.quad / scale + torch.tensor(shift), face.quad) < 0.01


@pytest.mark.parametrize("side", [24, 32, 48, 64])
def test_small_faces_are_found(eileen, side):
    """The aligned square has `side` pixels; the face fills about half of it."""
    (face,) = find_faces([eileen])
    scale = side / face.side
    small = resize(eileen, round(512 * scale), round(512 * scale)).clamp(0, 1)
    (found,) = find_faces([(small * 255).round() / 255])
    assert corner_distance(found.quad / scale, face.quad) < 0.06


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_quads_rotate_with_the_photograph(photographs, name, turn):
    """The aligned face is the same for any rotation of the photograph."""
    photograph = photographs[name]
    faces = find_faces([photograph])
    turned = torch.rot90(photograph, turn, (1, 2))
    found = find_faces([turned])
    (expected,), (cut,) = align([photograph], faces, 64), align([turned], found, 64)
    assert float((expected - cut).abs().mean()) < 0.02


def test_landmarks_of_a_mirrored_photograph_are_mirrored(eileen):
    (face,), (mirrored,) = find_faces([eileen]), find_faces([eileen.flip(-1)])
    expected = face.landmarks[[1, 0, 2, 4, 3]] * torch.tensor([-1, 1]) + torch.tensor([512, 0])
    assert float((mirrored.landmarks - expected).norm(dim=-1).max()) < 0.02 * face.side


def test_rotation_any_finds_faces_of_different_orientations(photographs):
    both = torch.zeros(3, 600, 1112)
    both[:, :512, :512] = photographs["eileen_collins"]
    both[:, :512, 512:] = photographs["grace_hopper"].rot90(1, (1, 2))
    faces = find_faces([both], FindSettings(rotation="any"))
    assert len(faces) == 2
    assert len(find_faces([both], FindSettings(rotation="auto"))) == 1
    left_edges = [face.quad[0] - face.quad[1] for face in faces]
    assert sorted(int(abs(x) > abs(y)) for x, y in left_edges) == [0, 1]  # one upright, one turned by 90 degrees


def test_rotation_upright_finds_only_upright_faces(eileen):
    assert not find_faces([eileen.rot90(2, (1, 2))], FindSettings(rotation="upright"))


def test_a_face_is_found_in_a_grey_photograph(eileen):
    assert len(find_faces([eileen.mean(0, keepdim=True).expand(3, -1, -1)])) == 1


@pytest.mark.parametrize("columns", [slice(0, 238), slice(215, 512)], ids=["right half outside", "left half outside"])
def test_a_face_cut_by_the_border_gives_finite_crops(eileen, columns):
    cut = eileen[:, :, columns]
    faces = find_faces([cut], FindSettings(score_threshold=0.5))
    assert all(bool(image.isfinite().all()) for image in align([cut], faces, 64))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (11, 11), (100, 20_000), (20_000, 100)])
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_no_face_is_found_in_flat_pictures_or_noise(size, kind):
    random = torch.Generator().manual_seed(0)
    picture = torch.full((3, *size), 0.5) if kind == "flat" else torch.rand(3, *size, generator=random)
    assert not find_faces([picture], FindSettings(rotation="upright"))


def test_faces_are_sorted_by_picture_then_by_size(photographs):
    eileen, grace = photographs["eileen_collins"], photographs["grace_hopper"]
    both = torch.zeros(3, 600, 1024)
    both[:, :512, :512], both[:, :, 512:] = eileen, grace
    faces = find_faces([eileen, torch.zeros(3, 64, 64), both])
    assert [face.picture for face in faces] == [0, 2, 2]
    assert faces[1].side > faces[2].side
    assert [number for number, _ in faces.of_picture(2)] == [1, 2]
    assert [number for number, _ in find_faces([both], FindSettings(max_faces=1)).of_picture(0)] == [0]
    preview = draw_faces(both, faces.of_picture(2), longest=512)
    assert preview.shape == (3, 300, 512)
    assert float((preview - resize(both, 300, 512)).abs().max()) > 0.3  # something is drawn


def test_labels_that_would_cover_each_other_are_numbers_alone():
    def yellow(*shifts):
        points = torch.tensor([[20.0, 60], [40, 60], [30, 70], [22, 82], [38, 82]])
        faces = [(number, Face(0, points + torch.tensor([shift, 0.0]), 1.0)) for number, shift in enumerate(shifts)]
        drawn = draw_faces(torch.zeros(3, 1000, 1000), faces)
        return int((drawn[0] > 0.9).sum())

    one = yellow(0.0)
    assert yellow(0.0, 500.0) == pytest.approx(2 * one, rel=0.1)
    assert yellow(0.0, 60.0) < 1.7 * one


def test_a_mask_selects_faces(photographs):
    both = torch.cat([photographs["eileen_collins"], photographs["grace_hopper"][:, :512]], dim=-1)
    faces = find_faces([both])
    assert len(faces) == 2
    for face in faces:
        mask = torch.zeros(512, 1024)
        x, y = face.landmarks.mean(0).long().tolist()
        mask[y - 40 : y + 40, x - 40 : x + 40] = 1
        (found,) = find_faces([both], masks=[mask])
        assert corner_distance(found.quad, face.quad) < 0.03
    assert not find_faces([both], masks=[torch.zeros(512, 1024)])
    with pytest.raises(ImageError, match=r"The mask is 5x5; its picture is 1024x512\."):
        find_faces([both], masks=[torch.ones(5, 5)])


def test_marked_landmarks_give_the_quad_of_the_detected_face(eileen):
    (face,) = find_faces([eileen])
    for points in (face.landmarks, face.landmarks[[1, 0, 2, 4, 3]]):  # left and right of the picture, or of the person
        text = "\n".join(f"{x:.2f}; {y:.2f}" for x, y in points.tolist())
        (marked,) = marked_faces([eileen], text)
        assert corner_distance(marked.quad, face.quad) < 0.001
        assert marked.score == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "have 0 numbers"),
        ("1 2 3", "have 3 numbers"),
        ("5,5 5,5 5,5 5,5 5,5", "do not span a face"),
        ("900,900 980,900 940,950 910,990 970,990", "mark a face of 324 pixels in a picture of 512x512"),
        ("100,100 100.4,100 100,100.2 100,100.5 100.4,100.5", "mark a face of 2 pixels"),
    ],
)
def test_invalid_landmarks_are_refused(eileen, text, found):
    with pytest.raises(SettingError, match=found):
        marked_faces([eileen], text)


def test_ffhq_quad_of_an_upright_face():
    """By hand: eyes at 40 px, mouth 50 px below them, so half a side is max(2 * 40, 1.8 * 50) = 90."""
    points = torch.tensor([[80.0, 100], [120, 100], [100, 120], [85, 150], [115, 150]])
    expected = torch.tensor([[10.0, 15], [10, 195], [190, 195], [190, 15]], dtype=torch.float64)
    torch.testing.assert_close(ffhq_quad(points), expected)


def test_suppression_equals_greedy_non_maximum_suppression():
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(500, 2, generator=random) * 60
    boxes = torch.cat([corner, corner + 5 + 20 * torch.rand(500, 2, generator=random)], dim=1)
    scores = torch.rand(500, generator=random)
    for of_smaller in (False, True):
        kept = []
        for index in scores.argsort(descending=True).tolist():
            low, high = (
                torch.maximum(boxes[index, :2], boxes[kept, :2]),
                torch.minimum(boxes[index, 2:], boxes[kept, 2:]),
            )
            common = (high - low).clamp(min=0).prod(-1)
            mine, theirs = (boxes[index, 2:] - boxes[index, :2]).prod(), (boxes[kept, 2:] - boxes[kept, :2]).prod(-1)
            area = torch.minimum(mine, theirs) if of_smaller else mine + theirs - common
            if not bool((common > 0.5 * area).any()):
                kept.append(index)
        assert _suppress(boxes, scores, 0.5, of_smaller=of_smaller).tolist() == kept


def test_faces_are_refused_with_another_picture(photographs):
    eileen, grace = photographs["eileen_collins"], photographs["grace_hopper"]
    source = Source.of(eileen)
    larger = resize(eileen, 1024, 1025)
    for same in (eileen, eileen * 0.6 + 0.1, eileen.mean(0, keepdim=True).expand(3, -1, -1), larger):
        source.check(same)
    assert source.scale_to(larger).tolist() == [1025 / 512, 2.0]
    for other in (grace, resize(grace, 512, 512), eileen[:, :400], eileen.rot90(1, (1, 2))):
        with pytest.raises(ImageError, match=r"The faces were found in another picture \(512x512\)"):
            source.check(other)
    flat = torch.full((3, 20, 30), 0.5)
    Source.of(flat).check(flat + 0.1)


def test_no_pictures_give_no_faces():
    faces = find_faces([])
    assert isinstance(faces, Faces)
    assert not faces
    assert list(align([], faces, 64)) == []
