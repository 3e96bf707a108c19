"""Picture files of all kinds, for tests: small ones, damaged ones, and ones that only look like a picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from pulse_core.pictures import png

# D50 primaries (XYZ columns R, G, B) and gamma of some RGB spaces, as in their ICC profiles.
SPACES = {
    "Display P3": ([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]], 2.2),
    "Adobe RGB": ([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]], 2.19921875),
    "ProPhoto": ([[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]], 1.8),
}
WHITE = (0.9642, 1.0, 0.8249)


def rgb_profile(name: str) -> bytes:
    """The ICC profile of one of SPACES."""
    columns, gamma = SPACES[name]
    tags = {b"rXYZ": _xyz(0, columns), b"gXYZ": _xyz(1, columns), b"bXYZ": _xyz(2, columns)}
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"RGB ", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def grey_profile(gamma: float) -> bytes:
    """The ICC profile of a grey space."""
    return _profile(b"GRAY", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"})


def srgb_profile() -> bytes:
    """littleCMS's own profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _xyz(column: int, rows) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(row[column] * 65536)) for row in rows)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    white = b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in WHITE)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": white, **tags}
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    size = start + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">iii", *(round(value * 65536) for value in WHITE)) + bytes(48)
    return head[:128] + struct.pack(">I", len(tags)) + table + data


def picture_bytes(form: str, mode: str = "RGB", size: tuple[int, int] = (9, 7), seed: int = 0, **options) -> bytes:
    """A file of random pixels."""
    random = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    image = Image.fromarray(random.integers(0, 256, shape, np.uint8)).convert(mode)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def sixteen_bits(channels: int, size: tuple[int, int] = (9, 7), extra=(), seed: int = 0) -> tuple[np.ndarray, bytes]:
    """Random pixels [H, W, C] uint16, and their PNG file."""
    pixels = np.random.default_rng(seed).integers(0, 65536, (size[1], size[0], channels)).astype(np.uint16)
    return pixels, png.encode(pixels, extra)


def tiff16(channels: int, *, big: bool = False, size: tuple[int, int] = (9, 7)) -> tuple[np.ndarray, bytes]:
    """Random pixels [H, W, C] uint16, and their TIFF file without compression."""
    pixels = np.random.default_rng(1).integers(0, 65536, (size[1], size[0], channels)).astype(np.uint16)
    order, mark = (">", b"MM") if big else ("<", b"II")
    data = pixels.astype(order + "u2").tobytes()
    bits = struct.pack(order + "H", 16) * channels
    start = 8
    bits_at = start + len(data)
    entries = [(256, 3, 1, size[0]), (257, 3, 1, size[1]), (258, 3, channels, bits_at), (259, 3, 1, 1)]
    entries += [(262, 3, 1, 2), (273, 4, 1, start), (277, 3, 1, channels), (278, 3, 1, size[1])]
    entries += [(279, 4, 1, len(data))] + ([(338, 3, 1, 2)] if channels == 4 else [])
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        inline = kind == 3 and count == 1
        directory += struct.pack(order + "HHI", tag, kind, count)
        directory += struct.pack(order + "HH", value, 0) if inline else struct.pack(order + "I", value)
    return pixels, mark + struct.pack(order + "HI", 42, bits_at + len(bits)) + data + bits + directory + bytes(4)


def exif(orientation: int, size: int = 0) -> bytes:
    """An EXIF block with a date, a place and an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x0132] = "1999:12:31 23:59:59"
    block[0x8825] = {1: "N", 2: (48.0, 12.0, 30.0)}
    return block.tobytes()


def huge_text() -> bytes:
    """A PNG whose compressed text is over Pillow's limit."""
    chunk = png.Chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**21)))
    return png.encode(np.full((8, 8, 3), 90, np.uint8), [chunk])


def huge_profile() -> bytes:
    """A PNG whose colour profile is over our limit."""
    chunk = png.Chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(2**25)))
    return png.encode(np.full((8, 8, 3), 90, np.uint8), [chunk])


FORMS: dict[str, Callable[[], bytes]] = {
    "png": lambda: picture_bytes("PNG"),
    "palette.png": lambda: picture_bytes("PNG", "P"),
    "interlaced16.png": lambda: sixteen_bits(3)[1],
    "apng.png": lambda: _animation("PNG"),
    "jpg": lambda: picture_bytes("JPEG"),
    "cmyk.jpg": lambda: picture_bytes("JPEG", "CMYK"),
    "gif": lambda: _animation("GIF"),
    "webp": lambda: _animation("WEBP"),
    "avif": lambda: picture_bytes("AVIF"),
    "tif": lambda: picture_bytes("TIFF"),
    "lzw.tif": lambda: picture_bytes("TIFF", compression="tiff_lzw"),
    "jpeg.tif": lambda: picture_bytes("TIFF", compression="jpeg"),
    "16.tif": lambda: tiff16(3)[1],
    "bmp": lambda: picture_bytes("BMP"),
    "jp2": lambda: picture_bytes("JPEG2000"),
    "ppm": lambda: picture_bytes("PPM"),
    "plain.ppm": lambda: b"P3\n2 2\n255\n" + b"9 8 7 " * 4,
    "tga": lambda: picture_bytes("TGA", compression="tga_rle"),
    "qoi": lambda: picture_bytes("QOI"),
    "dds": lambda: picture_bytes("DDS"),
    "ico": lambda: picture_bytes("ICO", size=(16, 16)),
    "icns": lambda: picture_bytes("ICNS", "RGBA", size=(16, 16)),
    "pcx": lambda: picture_bytes("PCX"),
    "sgi": lambda: picture_bytes("SGI"),
    "xbm": lambda: picture_bytes("XBM", "1"),
    "xpm": lambda: b'/* XPM */\nstatic char *x[] = {\n"2 2 2 1",\n"a c #ff0000",\n"b c #00ff00",\n"ab",\n"ba"\n};\n',
    "blp": lambda: picture_bytes("BLP", "P"),
    "msp": lambda: picture_bytes("MSP", "1"),
    "psd": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 2, 2, 8, 3) + bytes(14) + bytes(range(12)),
    "pfm": lambda: b"Pf\n2 2\n-1.0\n" + struct.pack("<4f", 0, 0.25, 0.5, 1),
}


def _animation(form: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), (60 * number, 200, 30)) for number in range(4)]
    file = io.BytesIO()
    frames[0].save(file, form, save_all=True, append_images=frames[1:])
    return file.getvalue()
