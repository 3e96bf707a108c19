"""Pictures in and out, and every kind that cannot be a target."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pulse_core.errors import ImageError
from pulse_core.pictures.images import NOTICE, prepare_target, read_image, save_image, to_rgb
from pulse_core.pictures.sheets import side_by_side


def write(path, array, mode=None):
    Image.fromarray(array, mode).save(path)
    return path


def test_eight_bit_rgb_round_trips_exactly(tmp_path):
    pixels = torch.randint(0, 256, (3, 5, 4), generator=torch.Generator().manual_seed(0)) / 255
    save_image(pixels, tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), pixels)


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    ramp = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    image = read_image(write(tmp_path / "a.png", ramp))
    assert image.shape == (3, 16, 16)
    torch.testing.assert_close(image[1], torch.from_numpy(ramp.astype(np.float32) / 65535))


def test_grey_is_repeated(tmp_path):
    image = read_image(write(tmp_path / "a.png", np.full((4, 4), 51, np.uint8)))
    torch.testing.assert_close(image, torch.full((3, 4, 4), 0.2))


def test_alpha_is_laid_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[0, 1] = (255, 0, 0, 51)
    image = read_image(write(tmp_path / "a.png", pixels))
    torch.testing.assert_close(image[:, 0, 0], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(image[:, 0, 1], torch.tensor([1.0, 0.8, 0.8]))
    torch.testing.assert_close(image[:, 1, 1], torch.ones(3))


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=0)
    torch.testing.assert_close(read_image(tmp_path / "a.png")[:, 0, 0], torch.tensor([0.0, 0, 1]))


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (6, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 6, 2)


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "text", "truncated"])
def test_a_file_that_is_no_picture(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("<html>not a picture</html>")
    elif kind == "truncated":
        save_image(torch.rand(3, 64, 64), path)
        path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_written_png_carries_the_notice_and_its_facts(tmp_path):
    save_image(torch.rand(3, 4, 4), tmp_path / "a.png", {"seed": 3})
    text = Image.open(tmp_path / "a.png").text
    assert text["Comment"] == NOTICE
    assert json.loads(text["pulse"]) == {"seed": 3}


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(torch.zeros(3, 4, 4), path)
    before = path.read_bytes()

    write = Path.write_bytes

    def full(self, data):
        write(self, data[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_image(torch.ones(3, 4, 4), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_side_by_side_shows_all_panels_and_the_whole_notice():
    sheet = side_by_side({"input": torch.zeros(3, 8, 8), "result": torch.ones(3, 64, 64)}, side=64)
    assert sheet.height == 40 + 64 + 40
    assert sheet.width > 600
    assert sheet.getpixel((48, 72)) == (0, 0, 0)
    assert sheet.getpixel((128, 72)) == (255, 255, 255)


def test_side_by_side_keeps_shapes():
    sheet = side_by_side({"wide": torch.zeros(3, 8, 32), "tall": torch.zeros(3, 64, 32)}, side=300)
    assert sheet.size == (16 + 1200 + 16 + 150 + 16, 40 + 300 + 40)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_usual_number_of_channels_is_a_target(tiny, channels):
    assert prepare_target(torch.rand(2, channels, 8, 8), tiny).shape == (2, 3, 8, 8)


def test_one_image_is_a_batch_of_one(tiny):
    assert prepare_target(torch.rand(3, 8, 8), tiny).shape == (1, 3, 8, 8)


def test_five_channels_are_refused():
    with pytest.raises(ImageError, match=r"The image has 5 channels\..*3 \(RGB\).*convert it to RGB"):
        to_rgb(torch.rand(1, 5, 8, 8))


@pytest.mark.parametrize(
    ("shape", "found", "accepted", "remedy"),
    [
        ((1, 3, 8, 16), "The target is 16x8; tiny makes 32x32.", "a square.", "crop it"),
        (
            (1, 3, 64, 64),
            "The target is 64x64; tiny makes 32x32.",
            "at most the generator's size.",
            "downscale it first",
        ),
        ((0, 3, 8, 8), "The target has the shape [0, 3, 8, 8].", "at least one image", "give a picture"),
        ((8, 8), "The target has the shape [8, 8].", "[B, C, h, w]", "give a picture"),
    ],
)
def test_sizes_that_cannot_be_a_target(tiny, shape, found, accepted, remedy):
    with pytest.raises(ImageError) as caught:
        prepare_target(torch.rand(shape), tiny)
    assert caught.value.found == found
    assert accepted in caught.value.accepted
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("value", "text"), [(torch.nan, "NaN or infinite"), (torch.inf, "NaN or infinite"), (200.0, "200")]
)
def test_values_that_cannot_be_a_target(tiny, value, text):
    image = torch.rand(1, 3, 8, 8)
    image[0, 1, 2, 3] = value
    with pytest.raises(ImageError, match=text):
        prepare_target(image, tiny)
