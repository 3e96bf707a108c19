"""Texts that would take long and inputs that would take much memory are refused before the work."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from steps import steps

from pulse_core import downsample
from pulse_core.degradations import caching, parse_degradation, separable
from pulse_core.degradations import text as degradation_text
from pulse_core.degradations.caching import ByteCache
from pulse_core.errors import CheckpointError, PulseError, SettingError
from pulse_core.faces import detection, finding
from pulse_core.faces.alignment import align
from pulse_core.faces.face import Face, Faces, Source
from pulse_core.faces.finding import FindSettings, find_faces, marked_faces
from pulse_core.interrupts import interruptible
from pulse_core.latent_search import losses
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latent_search.losses import parse_loss
from pulse_core.latents.blending import blend
from pulse_core.latents.latent import Latent
from pulse_core.limits import check_bytes, max_bytes
from pulse_core.pictures import sheets
from pulse_core.pictures.sheets import comparison, contact_sheet
from pulse_core.pictures.spread import spread

GIB = 1 << 30
POINTS = "30,40 60,40 45,55 35,70 55,70 "


def refused(call, text) -> None:
    """A text over the limit is refused after a few steps, whatever it holds."""
    with pytest.raises(SettingError):
        call(text)

    def attempt() -> None:
        with pytest.raises(SettingError):
            call(text)

    assert steps(attempt) < 1500


def attempted(call, text):
    """Parses, whether or not it is an error."""

    def attempt() -> None:
        with suppress(PulseError):
            call(text)

    return attempt


# Texts. Each kind of repetition that a quadratic parser would stumble over.
REPEATED = [
    "9",
    "1*L2+",
    "e",
    "1e",
    "e+",
    ".",
    "+",
    " ",
    "*",
    "(",
    "a",
    "1,",
    "blur",
    "grey+",
    "blur(1)+",
    "(a+",
    "-1 ",
]
PARSERS = {
    "loss": (parse_loss, losses.MAX_TEXT),
    "degradation": (parse_degradation, degradation_text.MAX_TEXT),
    "landmarks": (lambda text: marked_faces([], text), finding.MAX_TEXT),
}


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("part", REPEATED)
def test_texts_are_parsed_in_linear_time(name, part):
    parse, limit = PARSERS[name]
    half, whole = (steps(attempted(parse, part * (length // len(part)))) for length in (limit // 2, limit))
    assert whole <= 2.5 * half + 500
    assert whole < 12 * limit + 2_000
    refused(parse, part * (limit // len(part) + 1))


def test_a_loss_of_a_hundred_thousand_digits_is_refused_at_once():
    refused(parse_loss, "9" * 100_000)
    refused(lambda text: SearchConfig(loss=text), "1" * 100_000 + "*L2")


def test_the_letter_e_of_a_term_is_no_exponent():
    assert [(weight, term.name) for weight, term in parse_loss("1*MSE+0.05*GEOCROSS").parts] == [
        (1.0, "MSE"),
        (0.05, "GEOCROSS"),
    ]
    assert [weight for weight, _ in parse_loss("1e+2*MSE+1E-3*L1+.5e1*L2").parts] == [100.0, 0.001, 5.0]
    for text in ("MSE+L1", "1e+*L2", "1*MSE+", "+1*MSE", "e+1*L2"):
        with pytest.raises(SettingError):
            parse_loss(text)


@pytest.mark.parametrize(
    "text", ["jpeg(" + "9" * 400 + ")", "jpeg(" + "9" * 5000 + ")", "blur(1e999)", "motion(5, nan)"]
)
def test_numbers_of_any_length_are_settings_errors(text):
    with pytest.raises(SettingError) as error:
        parse_degradation(text)
    assert len(str(error.value)) < 1000


def test_a_whole_number_that_no_float_holds_is_out_of_range():
    for value in (10**400, -(10**5000)):
        with pytest.raises(SettingError):
            SearchConfig(steps=value)


def test_many_degradations_are_refused():
    parse_degradation("+".join(["grey"] * degradation_text.MAX_PARTS))
    with pytest.raises(SettingError, match="65 parts"):
        parse_degradation("+".join(["grey"] * 65))


def test_many_landmarks_are_refused_before_any_face_is_looked_at():
    with pytest.raises(SettingError, match=r"mark 1000 faces.*up to 256"):
        marked_faces(iter([torch.zeros(3, 100, 100)]), POINTS * 1000)
    with pytest.raises(SettingError, match="characters"):
        marked_faces([], POINTS * 20_000)


@pytest.mark.parametrize("huge", ["1e200", "1" * 400, "-" + "9" * 160])
def test_landmarks_of_huge_numbers_are_told(huge):
    with pytest.raises(SettingError):
        marked_faces([torch.zeros(3, 100, 100)], f"30,40 {huge},40 45,55 35,70 55,70")


# Sheets


@pytest.fixture
def nothing_is_made(monkeypatch):
    """Fails if a picture is made or converted."""
    monkeypatch.setattr(sheets, "to_pil", lambda _: pytest.fail("a picture was converted"))
    monkeypatch.setattr(Image, "new", lambda *_, **__: pytest.fail("a picture was made"))


@pytest.mark.usefixtures("nothing_is_made")
def test_large_sheets_are_told_beforehand():
    tiny, wide = torch.zeros(3, 8, 8), torch.zeros(3, 1, 4096)
    with pytest.raises(SettingError, match=r"200 pictures of 1024 a side would take 1\d\.\d GiB.*smaller side"):
        contact_sheet([tiny] * 200, [""] * 200, side=1024)
    with pytest.raises(SettingError, match=r"\d+x1104 pixels would take .* GiB"):
        comparison(wide, wide, wide, 10, side=1024)


def test_a_caption_takes_few_measurements_and_lines(monkeypatch):
    measured = []
    width = sheets.Pen.width

    def counted(self, text):
        measured.append(len(text))
        return width(self, text)

    monkeypatch.setattr(sheets.Pen, "width", counted)
    sheet = contact_sheet([torch.zeros(3, 8, 8)] * 2, ["long " * 800, "line\n" * 100_000], side=64)
    assert len(measured) < 40
    assert max(measured) <= max(64 + 4, len(sheets.NOTICE))
    assert sheet.height < 64 + 64 + 12 * 20


def test_elongated_pictures_stay_in_their_square():
    sheet = contact_sheet([torch.zeros(3, 1, 4096), torch.zeros(3, 4096, 1)], ["", ""], columns=1, side=64)
    assert sheet.height < 300


# Latents


def test_a_small_latent_file_cannot_declare_gigabytes(tmp_path):
    path = tmp_path / "small.latent.safetensors"
    for count, side in ((1, 16384), (7, 8192), (2000, 512)):
        save_file(
            {"ws": torch.zeros(count, 1, 1, dtype=torch.int8)}, path, {"noise_shapes": json.dumps([[side, side]])}
        )
        assert path.stat().st_size < 3000
        with pytest.raises(CheckpointError, match=r"declares \d\.\d GiB of noise maps"):
            Latent.load(path)


def test_honest_latents_without_their_zeros_are_loaded(tmp_path):
    maps = tuple(torch.zeros(3, 1, 2**n, 2**n) for n in range(2, 11) for _ in range(2))
    Latent(torch.ones(3, 18, 512), maps).save(tmp_path / "x.latent.safetensors")
    assert (tmp_path / "x.latent.safetensors").stat().st_size < 200_000
    assert Latent.load(tmp_path / "x.latent.safetensors").noise[-1].shape == (3, 1, 1024, 1024)


def test_many_blended_frames_are_told_beforehand():
    latent = Latent(torch.zeros(1, 18, 512), (torch.zeros(1, 1, 1024, 1024),))
    with pytest.raises(SettingError, match=r"4096 blended latents .* GiB"):
        blend(latent, latent, 1.0, frames=4096)
    assert len(blend(Latent(torch.zeros(1, 18, 512)), Latent(torch.zeros(1, 18, 512)), 1.0, frames=4096)) == 4096


# Faces


def test_a_small_min_face_size_on_a_large_picture_is_told_beforehand(monkeypatch):
    monkeypatch.setattr(detection, "Pyramid", lambda _: pytest.fail("the picture was enlarged"))
    picture = torch.zeros(3, 1, 1).expand(3, 4096, 4096)
    with pytest.raises(SettingError, match=r"min_face_size is 1: .* GiB.* set min_face_size to (\d+)") as error:
        find_faces([picture], FindSettings(min_face_size=1))
    least = int(error.value.remedy.split()[3])
    assert 1 < least < 12
    with pytest.raises(SettingError):
        detection._check_size(4096, 4096, least - 1)
    detection._check_size(4096, 4096, least)


def test_crops_of_many_faces_are_told_beforehand():
    points = torch.tensor([[30.0, 40], [60, 40], [45, 55], [35, 70], [55, 70]])
    picture = torch.zeros(3, 100, 100)
    faces = Faces(tuple(Face(0, points, 1.0) for _ in range(200)), (Source.of(picture),))
    with pytest.raises(SettingError, match="200 faces of 4096 pixels"):
        next(align([picture], faces, 4096))


# Matrices


def test_filters_that_do_not_fit_into_memory_are_told_beforehand():
    picture = torch.zeros(1, 1, 1).expand(1, 40_000, 40_000)
    for size in ((30_000, 30_000), (39_999, 39_999)):
        with pytest.raises(SettingError, match="Filtering 40000 pixels"):
            downsample(picture, size=size)
    with pytest.raises(SettingError, match="Filtering"):
        parse_degradation("motion(200)").forward(picture[None])


def test_a_cache_has_a_size_in_bytes():
    cache: ByteCache[bytes] = ByteCache(100, len)
    made = []

    def entry(size, key):
        def make() -> bytes:
            made.append(key)
            return bytes(size)

        return cache.get(key, make)

    for key in "abc":
        entry(40, key)
    assert (cache.bytes, len(cache.values())) == (80, 2)
    entry(40, "c")
    entry(40, "b")
    assert made == ["a", "b", "c"], "the last two are kept"
    entry(101, "large")
    assert cache.bytes == 80, "what is larger than the cache pushes nothing out"
    entry(100, "whole")
    assert (cache.bytes, len(cache.values())) == (100, 1)


def test_the_matrices_of_many_sizes_are_within_the_limit(monkeypatch):
    small: ByteCache = ByteCache(3_000_000, lambda matrix: matrix.nbytes)
    placed: ByteCache = ByteCache(5_000_000, lambda entry: entry[0].nbytes + entry[1].nbytes)
    monkeypatch.setattr(caching, "_matrices", small)
    monkeypatch.setattr(separable, "_placed", placed)
    picture, sums = torch.rand(1, 512, 512, generator=torch.Generator().manual_seed(0)), []
    for size in (*range(100, 300, 10), 105):
        sums.append(float(downsample(picture, size=(size, size)).mean()))
        assert small.bytes == sum(matrix.nbytes for matrix in small.values()) <= 3_000_000
        assert placed.bytes <= 5_000_000
    assert max(sums) - min(sums) < 0.01
    assert caching.MATRICES <= 128 << 20


# The limit itself


def test_the_limit_is_a_setting(monkeypatch):
    check_bytes(8 * GIB, "all of it", "take less.")
    with pytest.raises(SettingError, match=r"too much would take 8\.0 GiB.*up to 8\.0 GiB.*take less"):
        check_bytes(8 * GIB + 1, "too much", "take less.")
    monkeypatch.setenv("PULSE_MAX_BYTES", str(20 * GIB))
    check_bytes(20 * GIB, "more", "take less.")
    for wrong in ("much", "-1", "1e9", "9" * 30):
        monkeypatch.setenv("PULSE_MAX_BYTES", wrong)
        with pytest.raises(SettingError, match="PULSE_MAX_BYTES"):
            max_bytes()


# Interrupts


class Stop(Exception):
    """What the program raises to stop the work."""


def stopped_at(number, work) -> int:
    """Runs the work until the check of this number; returns how many there were."""
    seen = 0

    def check() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise Stop

    try:
        with interruptible(check):
            work()
    except Stop:
        assert seen == number
    return seen


FACES = torch.rand(3, 100, 100, generator=torch.Generator().manual_seed(0))
NOISY = Latent(torch.zeros(1, 2, 4), (torch.ones(1, 1, 4, 4),) * 6)
LOOPS = {
    "finding in one picture": (lambda: find_faces([FACES], FindSettings(min_face_size=12, rotation="upright")), 4),
    "marked faces": (lambda: marked_faces([FACES], POINTS * 2), 3),
    "crops": (lambda: list(align([FACES], MARKED, 32)), 2),
    "a sheet": (lambda: contact_sheet([FACES] * 6, ["x"] * 6, side=32), 12),
    "a comparison": (lambda: comparison(FACES, FACES, FACES, 10, 32), 4),
    "spread": (lambda: spread([FACES] * 6), 12),
    "motion blur": (lambda: parse_degradation("motion(50, 30)").forward(FACES[None]), 50),
    "blended noise": (lambda: blend(NOISY, NOISY, 0.5), 6),
}
MARKED = Faces(
    tuple(Face(0, torch.tensor([[30.0, 40], [60, 40], [45, 55], [35, 70], [55, 70]]), 1.0) for _ in range(2)),
    (Source.of(FACES),),
)


@pytest.mark.parametrize("name", LOOPS)
def test_long_work_can_be_stopped_in_its_middle(name):
    work, least = LOOPS[name]
    checks = stopped_at(0, work)
    assert checks >= least
    for number in {1, checks // 2 + 1}:
        assert stopped_at(number, work) == number


def test_outside_of_the_block_nothing_is_checked():
    stopped_at(1, lambda: spread([FACES] * 2))
    spread([FACES] * 2)
