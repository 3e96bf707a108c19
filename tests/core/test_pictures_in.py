"""Picture files in: whatever a file is, it is read as it is meant, or refused in one clear error."""

from __future__ import annotations

import io
import os
import random
import struct
import sys

import numpy as np
import pytest
import torch
from pictures import FORMS, exif, huge_profile, huge_text, picture_bytes, sixteen_bits, tiff16
from PIL import Image

from pulse_core.errors import ImageError
from pulse_core.files import is_partial, remove_partial_files, whole_file
from pulse_core.pictures import images, png
from pulse_core.pictures.images import read_image
from pulse_core.pictures.reading import FORMATS, PictureFile, read_picture, suffixes

CASES = int(os.environ.get("PULSE_FUZZ_CASES", "700"))


def written(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("kind", FORMS)
def test_every_format_is_read(tmp_path, kind):
    path = written(tmp_path, f"a.{kind}", FORMS[kind]())
    picture = read_picture(path)
    assert picture.srgb.shape[0] == 3
    assert 0 <= float(picture.srgb.min()) <= float(picture.srgb.max()) <= 1
    assert path.suffix in suffixes()


def test_what_a_damaged_file_raises_is_one_error(tmp_path):
    """PULSE_FUZZ_CASES chooses how many damaged files."""
    kinds, draw, outcomes = {kind: make() for kind, make in FORMS.items()}, random.Random(5), {"read": 0, "refused": 0}
    for case in range(CASES):
        kind = list(kinds)[case % len(kinds)]
        path = written(tmp_path, f"x.{kind}", damaged(kinds[kind], draw, list(kinds.values())))
        try:
            assert read_picture(path).srgb.ndim == 3
            outcomes["read"] += 1
        except ImageError as error:
            told = str(error)
            outcomes["refused"] += str(path) in told and "\n" not in told
    print(outcomes)
    assert sum(outcomes.values()) == CASES
    assert min(outcomes.values()) > CASES / 20, outcomes


def damaged(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Cut off, with changed bytes, with extreme numbers, with a piece of another file, or with a piece twice."""
    body, way = bytearray(data), draw.randrange(5)
    place = draw.randrange(min(len(body), draw.choice((40, 200, 10**6))))
    if way == 0:
        return bytes(body[:place])
    if way == 1:
        for _ in range(draw.randrange(1, 6)):
            body[draw.randrange(len(body))] = draw.randrange(256)
    elif way == 2:
        number = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 16))
        body[place : place + 4] = struct.pack(draw.choice(("<I", ">I")), number)
    elif way == 3:
        other = draw.choice(others)
        cut = draw.randrange(len(other))
        body[place:] = other[cut:]
    else:
        body[place:place] = body[draw.randrange(len(body)) :][:200]
    # The checksums of PNG would hide what lies behind them.
    return checked(bytes(body)) if body.startswith(png.SIGNATURE) and draw.random() < 0.7 else bytes(body)


def checked(data: bytes) -> bytes:
    """A PNG file with right checksums."""
    return png.SIGNATURE + b"".join(png._written(chunk) for chunk in png.chunks(data))


@pytest.mark.parametrize("make", [huge_text, huge_profile])
def test_a_large_text_or_profile_is_no_reason_to_refuse(tmp_path, make):
    assert torch.allclose(read_image(written(tmp_path, "a.png", make())), torch.full((3, 8, 8), 90 / 255))


@pytest.mark.parametrize("damage", [b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"tIME", b"acTL", b"fdAT", b"pHYs"])
def test_damaged_chunks_that_are_not_the_picture_are_no_reason_either(tmp_path, damage):
    junk = png.Chunk(damage, b"name\0\0" + bytes(range(40)))
    path = written(tmp_path, "a.png", png.encode(np.full((8, 8, 3), 90, np.uint8), [junk]))
    assert torch.allclose(read_image(path), torch.full((3, 8, 8), 90 / 255))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "heif-convert"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"SIMPLE  =                    T" + bytes(2880), "cannot be read"),
    ],
)
def test_what_is_not_decoded_here_is_named(tmp_path, monkeypatch, data, text):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("starts a program"))
    with pytest.raises(ImageError, match=text):
        read_picture(written(tmp_path, "a.png", data))


def test_no_format_of_those_that_are_read_starts_a_program():
    assert not {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "FITS"} & set(FORMATS)


def test_a_format_without_a_signature_is_known_by_its_ending_alone(tmp_path):
    data = FORMS["tga"]()
    assert read_image(written(tmp_path, "a.tga", data)).shape == (3, 7, 9)
    with pytest.raises(ImageError, match="no picture"):
        read_image(written(tmp_path, "a.png", data))


@pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
@pytest.mark.parametrize("kind", ["pipe", "directory", "dangling", "loop", "missing", "device"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind in ("dangling", "loop"):
        path.symlink_to(path if kind == "loop" else tmp_path / "none")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    with pytest.raises(ImageError, match=r"a\.png"):
        PictureFile.read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="makes links")
def test_a_link_to_a_picture_is_a_picture(tmp_path):
    (tmp_path / "a.png").symlink_to(written(tmp_path, "b.png", FORMS["png"]()))
    assert read_image(tmp_path / "a.png").shape == (3, 7, 9)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_read_to_the_bit(tmp_path, channels):
    pixels, data = sixteen_bits(channels)
    picture = read_picture(written(tmp_path, "a.png", data))
    assert picture.depth == 16
    assert np.array_equal((picture.pixels * 65535).round().permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_of_a_tiff_file_too(tmp_path, channels, big):
    pixels, data = tiff16(channels, big=big)
    picture = read_picture(written(tmp_path, "a.tif", data))
    assert picture.depth == 16
    assert np.array_equal((picture.pixels * 65535).round().permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("top", [65535, 1023])
def test_a_ppm_file_of_more_than_eight_bits_too(tmp_path, top):
    values = np.random.default_rng(2).integers(0, top + 1, (7, 9, 3))
    data = b"P6\n9 7\n%d\n" % top + values.astype(">u2").tobytes()
    picture = read_picture(written(tmp_path, "a.ppm", data))
    assert picture.depth == 16
    assert np.abs(picture.pixels.permute(1, 2, 0).numpy() - values / top).max() < 1.01 / 65535


def test_a_transparent_colour_of_sixteen_bits_becomes_alpha(tmp_path):
    pixels, _ = sixteen_bits(3)
    key = png.Chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    picture = read_picture(written(tmp_path, "a.png", png.encode(pixels, [key])))
    assert len(picture.pixels) == 4
    assert float(picture.pixels[3, 2, 3]) == 0
    assert float(picture.pixels[3].sum()) == 9 * 7 - 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "16 bits"])
def test_the_orientation_is_applied_once(tmp_path, orientation, form):
    """As Pillow's own exif_transpose does, and what is kept says that it is done."""
    from PIL import ImageOps

    if form == "16 bits":
        _, plain = sixteen_bits(3)
        block = exif(orientation).removeprefix(b"Exif\0\0")
        data = png.SIGNATURE + b"".join(map(png._written, _after_header(plain, png.Chunk(b"eXIf", block))))
    else:
        options = {"lossless": True} if form == "WEBP" else {}
        data = picture_bytes(form, exif=exif(orientation), **options)
    picture = read_picture(written(tmp_path, "a.jpg", data))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    high = (picture.srgb * (257 * 255 if picture.depth == 16 else 255)).round().int()
    high = high >> 8 if picture.depth == 16 else high
    assert np.array_equal(high.permute(1, 2, 0).numpy(), np.asarray(expected.convert("RGB")))
    picture.save(picture.native, tmp_path / "out.png", is_whole=True)
    again = Image.open(tmp_path / "out.png")
    assert again.getexif().get(0x0112, 1) == 1
    assert again.getexif()[0x0132] == "1999:12:31 23:59:59"
    assert again.getexif().get_ifd(0x8825)[1] == "N"
    assert torch.equal(read_picture(tmp_path / "out.png").pixels, picture.pixels)


def _after_header(data, chunk):
    head, *rest = png.chunks(data)
    return [head, chunk, *rest]


def test_an_orientation_in_xmp_is_applied_once(tmp_path):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    pixels = np.zeros((4, 6, 3), np.uint8)
    text = png.Chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    picture = read_picture(written(tmp_path, "a.png", png.encode(pixels, [text])))
    assert picture.pixels.shape == (3, 6, 4)
    picture.save(picture.native, tmp_path / "out.png", is_whole=True)
    assert read_picture(tmp_path / "out.png").pixels.shape == (3, 6, 4)


@pytest.mark.parametrize("kind", ["gif", "webp", "apng.png"])
def test_further_frames_are_told(tmp_path, kind):
    picture = read_picture(written(tmp_path, f"a.{kind}", FORMS[kind]()))
    assert picture.notes == ("it has 4 frames; the first is used",)


def test_a_damaged_further_frame_is_no_reason_to_refuse(tmp_path):
    data = FORMS["gif"]()
    assert read_picture(written(tmp_path, "a.gif", data[: len(data) - 30])).pixels.shape[1:] == (8, 8)


def test_too_many_pixels(tmp_path):
    header = struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0)
    data = png.SIGNATURE + b"".join(map(png._written, [png.Chunk(b"IHDR", header), png.Chunk(b"IDAT", b"x" * 9)]))
    with pytest.raises(ImageError, match=r"200 megapixels.*179 megapixels at most.*downscale it to 95% of its width"):
        read_picture(written(tmp_path, "a.png", data))


@pytest.mark.parametrize(
    ("mode", "values", "text"),
    [
        ("F", [0, 255], r"from 0 to 255.*8-bit values by 255"),
        ("F", [0, float("nan")], "nan"),
        ("I", [0, 2**31 - 1], r"32-bit integers from 0 to 2147483647.*8 or 16 bits"),
        ("I", [-1, 5], "from -1 to 5"),
    ],
)
def test_values_that_are_no_colours(tmp_path, mode, values, text):
    array = np.array([values], np.float32 if mode == "F" else np.int32)
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=text):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(("mode", "top"), [("F", 1), ("I", 65535)])
def test_wide_numbers_that_are_colours(tmp_path, mode, top):
    array = np.array([[0, 0.25 * top, top]], np.float32).round(2)
    Image.fromarray(array if mode == "F" else array.astype(np.int32)).save(tmp_path / "a.tif")
    torch.testing.assert_close(read_image(tmp_path / "a.tif")[0, 0], torch.tensor([0, 0.25, 1]), atol=1e-4, rtol=0)


@pytest.mark.skipif(sys.platform == "win32", reason="cannot ask whether a process is alive")
def test_partial_files_of_dead_processes_are_removed(tmp_path):
    with whole_file(tmp_path / "a.png") as alive:
        dead = alive.with_name(alive.name.replace(f"-{os.getpid()}-", f"-{2**22 + 7}-"))
    dead.write_bytes(b"half")
    foreign = tmp_path / ".pulse-00000000-1-abc.partial.png"
    foreign.write_bytes(b"half")
    with whole_file(tmp_path / "a.png") as mine:
        assert is_partial(mine)
        assert remove_partial_files([tmp_path, tmp_path / "none"]) == [dead]
        assert mine.exists()
        mine.write_bytes(b"whole")
    os.utime(foreign, (0, 0))
    assert remove_partial_files([tmp_path]) == [foreign]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_longest_name_is_written(tmp_path):
    images.save_image(torch.rand(3, 4, 4), tmp_path / ("a" * 251 + ".png"))
    assert read_image(tmp_path / ("a" * 251 + ".png")).shape == (3, 4, 4)


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_result_that_is_damaged_is_not_taken_for_one(tmp_path, damage):
    path = tmp_path / "a.png"
    images.save_image(torch.rand(3, 30, 30), path, {"recipe": "x"})
    assert images.read_metadata(path) == {"recipe": "x"}
    data = bytearray(path.read_bytes())
    if damage == "changed":
        data[-40] ^= 1
    path.write_bytes(data if damage == "changed" else data[:-30])
    assert images.read_metadata(path) is None
