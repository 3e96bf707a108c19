"""Pictures out: in the colour space that they came in, and outside of the faces the same to the bit."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import ROOT
from pictures import SPACES, exif, grey_profile, rgb_profile, srgb_profile
from PIL import Image, ImageCms

from pulse_core import cli
from pulse_core.faces.pasting import PasteSettings
from pulse_core.faces.warping import resize
from pulse_core.latent_search.config import SearchConfig
from pulse_core.photographs import restore
from pulse_core.pictures import png
from pulse_core.pictures.images import read_image, read_metadata
from pulse_core.pictures.picture import Picture
from pulse_core.pictures.reading import read_picture

BELOW = 150  # the row under which the photograph has no face


@pytest.fixture(scope="module")
def eileen():
    """[256, 256, 3] uint8."""
    image = resize(read_image(ROOT / "samples" / "eileen_collins.jpg"), 256, 256).clamp(0, 1)
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def variants(pixels: np.ndarray) -> dict[str, tuple[np.ndarray, bytes | None]]:
    """Pixels and profile by the kind of photograph."""
    grey = pixels.mean(-1, keepdims=True).round().astype(np.uint8)
    alpha = np.random.default_rng(0).integers(0, 256, grey.shape).astype(np.uint8)
    alpha[:BELOW] = 255  # a face that can be seen
    noise = np.random.default_rng(1).integers(0, 256, pixels.shape).astype(np.uint16)
    deep = pixels.astype(np.uint16) * 256 + noise
    return {
        "RGB": (pixels, None),
        "RGBA": (np.concatenate([pixels, alpha], -1), None),
        "grey": (grey, None),
        "grey and alpha": (np.concatenate([grey, alpha], -1), None),
        "16 bits": (deep, None),
        "16 bits and alpha": (np.concatenate([deep, alpha.astype(np.uint16) * 257], -1), None),
        "16 bits of grey": (deep[..., :1], None),
        "grey in three channels": (np.repeat(grey, 3, -1), None),
        "sRGB": (pixels, srgb_profile()),
        **{name: (pixels, rgb_profile(name)) for name in SPACES},
        "16 bits of ProPhoto": (deep, rgb_profile("ProPhoto")),
        "grey of gamma 1.8": (grey, grey_profile(1.8)),
    }


KINDS = tuple(variants(np.zeros((2, 2, 3), np.uint8)))


def written(path, pixels, profile=None, extra=()):
    chunks = ([png.profile_chunk(profile)] if profile else []) + list(extra)
    path.write_bytes(png.encode(pixels, chunks))
    return path


def stored(path) -> np.ndarray:
    """[H, W, C]: the numbers in a file."""
    picture = read_picture(path)
    top = 2**picture.depth - 1
    return (picture.pixels * top).round().permute(1, 2, 0).numpy().astype(np.uint16 if top > 255 else np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_outside_of_the_faces_nothing_changes(tiny, tiny_fit, eileen, tmp_path, kind):
    pixels, profile = variants(eileen)[kind]
    picture = read_picture(written(tmp_path / "in.png", pixels, profile))
    restored = restore(picture, tiny, tiny_fit, SearchConfig(steps=1), lr_size=16)
    picture.save(restored.picture, tmp_path / "out.png", is_whole=True)
    result = stored(tmp_path / "out.png")
    assert result.dtype == pixels.dtype
    assert result.shape == pixels.shape
    outside = (restored.invented == 0).numpy()
    assert 0.5 < outside.mean() < 0.98
    assert np.array_equal(result[outside], pixels[outside])
    assert not np.array_equal(result, pixels)
    if pixels.shape[-1] in (2, 4):
        assert np.array_equal(result[..., -1], pixels[..., -1])
    if "grey" in kind and pixels.shape[-1] == 3:
        assert bool((result == result[..., :1]).all())
    assert Image.open(tmp_path / "out.png").info.get("icc_profile") == profile


@pytest.mark.parametrize("kind", [*SPACES, "grey of gamma 1.8"])
def test_a_face_is_in_the_space_of_its_photograph(eileen, tmp_path, kind):
    """What littleCMS shows of the result is the invented face."""
    pixels, profile = variants(eileen)[kind]
    picture = read_picture(written(tmp_path / "in.png", pixels, profile))
    raw = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)
    assert float((picture.srgb - raw).abs().mean()) > 0.005
    face = torch.full((3, 40, 40), 0.5)
    face[:, :20] = torch.tensor([0.7, 0.5, 0.45])[:, None, None]
    picture.save(picture.from_srgb(face), tmp_path / "face.png")
    shown = read_image(tmp_path / "face.png")
    expected = face if kind in SPACES else (face * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    assert float((shown - expected).abs().max()) < (0.01 if kind in SPACES else 0.02)


def test_conversion_is_that_of_the_formulas(tmp_path):
    """A matrix and a power: Lindbloom's chromatically adapted Adobe RGB to sRGB."""
    random = np.random.default_rng(3)
    pixels = random.integers(60, 200, (20, 20, 3)).astype(np.uint8)
    picture = read_picture(written(tmp_path / "a.png", pixels, rgb_profile("Adobe RGB")))
    columns, gamma = SPACES["Adobe RGB"]
    xyz = (pixels / 255.0) ** gamma @ np.array(columns).T
    to_linear = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = (xyz @ to_linear.T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(picture.srgb.permute(1, 2, 0).numpy() - srgb).max() < 2.5 / 255


def test_srgb_with_a_profile_is_not_touched(eileen, tmp_path):
    picture = read_picture(written(tmp_path / "a.png", eileen, srgb_profile()))
    assert picture.space.is_srgb
    assert np.array_equal((picture.srgb * 255).round().permute(1, 2, 0).numpy(), eileen)


@pytest.mark.parametrize(
    ("profile", "note"),
    [(b"junk" * 50, "not usable"), (b"", ""), (grey_profile(2.2), "not for RGB"), (bytes(200), "not usable")],
)
def test_a_profile_that_does_not_fit_is_told_and_kept(eileen, tmp_path, profile, note):
    picture = read_picture(written(tmp_path / "a.png", eileen, profile or None))
    assert picture.space.is_srgb
    assert note in " ".join(picture.notes)
    picture.save(picture.native, tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").info.get("icc_profile", b"") == profile


def test_cmyk_becomes_srgb_and_says_so(eileen, tmp_path):
    Image.fromarray(eileen).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    assert any("CMYK" in note and "sRGB" in note for note in picture.notes)
    assert float((picture.srgb.permute(1, 2, 0) - torch.from_numpy(eileen) / 255).abs().mean()) < 0.05


def test_lab_is_converted(tmp_path):
    Image.merge("LAB", [Image.new("L", (4, 4), level) for level in (255, 128, 128)]).save(tmp_path / "a.tif")
    assert float((read_image(tmp_path / "a.tif") - 1).abs().max()) < 0.02


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_gives_its_own_colours(tmp_path, eileen, transparent):
    image = Image.fromarray(eileen).quantize(64)
    image.save(tmp_path / "a.png", **({"transparency": 5} if transparent else {}))
    picture = read_picture(tmp_path / "a.png")
    picture.save(picture.native, tmp_path / "out.png")
    kept = Image.open(tmp_path / "a.png").convert("RGBA" if transparent else "RGB")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(kept))


def test_resolution_texts_and_gamma_are_kept(tmp_path, eileen):
    extra = [
        png.Chunk(b"gAMA", (45455).to_bytes(4, "big")),
        png.resolution_chunk((300, 300)),
        png.text_chunk("Title", "At the window"),
        png.text_chunk("pulse", "{}"),
    ]
    picture = read_picture(written(tmp_path / "a.png", eileen, None, extra))
    picture.save(picture.native, tmp_path / "out.png", {"recipe": "x"}, is_whole=True)
    result = Image.open(tmp_path / "out.png")
    assert result.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    assert result.info["gamma"] == pytest.approx(0.45455)
    assert result.text["Title"] == "At the window"
    assert "invented" in result.text["Comment"]
    assert read_metadata(tmp_path / "out.png") == {"recipe": "x"}
    picture.save(picture.native, tmp_path / "face.png")
    assert "Title" not in Image.open(tmp_path / "face.png").text  # a face is another picture


def test_the_resolution_of_a_jpeg_is_kept(tmp_path, eileen):
    Image.fromarray(eileen).save(tmp_path / "a.jpg", dpi=(240, 240))
    picture = read_picture(tmp_path / "a.jpg")
    picture.save(picture.native, tmp_path / "out.png", is_whole=True)
    assert Image.open(tmp_path / "out.png").info["dpi"] == pytest.approx((240, 240), abs=0.02)


def test_an_enlarged_photograph_keeps_depth_and_alpha(tiny, tiny_fit, eileen, tmp_path):
    pixels, _ = variants(eileen)["16 bits and alpha"]
    picture = read_picture(written(tmp_path / "a.png", pixels))
    config = SearchConfig(steps=1)
    restored = restore(picture, tiny, tiny_fit, config, lr_size=16, pasting=PasteSettings(enlarge=2.0))
    picture.save(restored.picture, tmp_path / "out.png", is_whole=True)
    assert stored(tmp_path / "out.png").shape == (512, 512, 4)
    assert read_picture(tmp_path / "out.png").depth == 16


def test_one_road_from_the_shell(tiny_file, tmp_path, eileen):
    """Date and place, profile, depth; the picture beside, and the face alone."""
    pixels, profile = variants(eileen)["16 bits of ProPhoto"]
    block = png.Chunk(b"eXIf", exif(1).removeprefix(b"Exif\0\0"))
    written(tmp_path / "a.png", pixels, profile, [block])
    words = ["photo", tmp_path / "a.png", "-o", tmp_path / "out", "--generator", tiny_file, "--side-by-side"]
    assert cli.main([str(word) for word in (*words, "--device", "cpu", "--steps", 2, "--lr-size", 16)]) == 0
    result = stored(tmp_path / "out" / "a.png")
    assert np.array_equal(result[BELOW:], pixels[BELOW:])
    files = ["a.png", "a_side_by_side.png", "faces/a-1.png"]
    assert all(Image.open(tmp_path / "out" / name).info["icc_profile"] == profile for name in files)
    assert Image.open(tmp_path / "out" / "a.png").getexif()[0x0132] == "1999:12:31 23:59:59"
    assert 0x0132 not in Image.open(tmp_path / "out" / "faces" / "a-1.png").getexif()
    face, shown = read_image(tmp_path / "out" / "faces" / "a-1.png"), read_image(tmp_path / "out" / "a.png")
    assert abs(float(face[:, 10:22, 10:22].mean() - shown[:, 70:100, 95:125].mean())) < 0.2


@pytest.mark.parametrize("kind", ["grey", "grey of gamma 1.8", "Display P3"])
def test_upscale_keeps_the_space_too(tiny_file, tmp_path, kind):
    random = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    pixels, profile = variants(random)[kind]
    written(tmp_path / "a.png", pixels, profile)
    words = ["upscale", tmp_path / "a.png", "--generator", tiny_file, "--device", "cpu", "--steps", 2]

    def run(out, *more):
        assert cli.main([str(word) for word in (*words, "-o", tmp_path / out, *more)]) == 0
        return Image.open(tmp_path / out / "a.png")

    result = run("out", "--side-by-side")
    assert result.mode == ("RGB" if kind in SPACES else "L")
    assert result.info.get("icc_profile") == profile
    beside = Image.open(tmp_path / "out" / "a_side_by_side.png")
    assert (beside.mode, beside.info.get("icc_profile")) == (result.mode, profile)
    assert run("colour", "--degradation", "grey").mode == "RGB"  # it says that the face had colours


def test_downsample_keeps_space_and_depth(tmp_path, eileen):
    pixels, profile = variants(eileen)["16 bits of ProPhoto"]
    written(tmp_path / "a.png", pixels, profile)
    assert cli.main(["downsample", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--size", "32"]) == 0
    assert stored(tmp_path / "b.png").dtype == np.uint16
    assert Image.open(tmp_path / "b.png").info["icc_profile"] == profile


def test_a_picture_without_littlecms_is_read_and_says_so(eileen, tmp_path, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    picture = read_picture(written(tmp_path / "a.png", eileen, rgb_profile("Adobe RGB")))
    assert "littleCMS" in picture.notes[0]
    assert isinstance(picture, Picture)


def test_the_profiles_of_these_tests_are_profiles():
    for name in SPACES:
        assert ImageCms.ImageCmsProfile(io.BytesIO(rgb_profile(name))).profile.xcolor_space.strip() == "RGB"
