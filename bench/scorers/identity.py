"""Identity: the face descriptor of dlib's ResNet, 128 numbers that are close for pictures of one person.

The network is `dlib_face_recognition_resnet_model_v1` (D. King 2017), a ResNet-29 after K. He, X. Zhang, S. Ren,
J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; the weights are those of the npm package
@vladmandic/face-api, quantised to 8 bits. A distance below 0.6 means the same person.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pulse_core.errors import CheckpointError, ImageError
from pulse_core.files import whole_file
from pulse_core.pictures.images import check_colours, to_pil

ASSETS = Path(__file__).resolve().parents[1] / "assets"
COMMAND = "python -m bench.scorers"
PACKAGE = "@vladmandic/face-api@1.7.15"
WEIGHTS, MANIFEST = "face_recognition_model.bin", "face_recognition_model-weights_manifest.json"
SHA256 = {
    WEIGHTS: "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
    MANIFEST: "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
}

# The residual blocks in order; those with "down" in their names halve the resolution.
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)

SIDE = 150  # pixels a side of the network's input
_CHIP = (147 / 1024, 255 / 1024, 878 / 1024, 986 / 1024)  # dlib's crop (padding 0.25) of a picture aligned as FFHQ
_MEAN = (122.782, 117.001, 104.298)
_SCALE = 256.0  # as in dlib; the package divides by 255, which changes a descriptor by about 0.001


class Identity:
    """The network, on the CPU.

    Args:
        weights: by the package's names; filters are [height, width, in, out].
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        names = ["conv32_down", *(f"{block}/{conv}" for block in BLOCKS for conv in ("conv1", "conv2"))]
        self._convs = {name: _folded(weights, name) for name in names}
        self._fc = weights["fc"]

    @classmethod
    def load(cls, folder: Path | str = ASSETS) -> Identity:
        """Reads the files that `fetch` wrote.

        Raises:
            CheckpointError: a file is missing, or has another checksum.
        """
        folder = Path(folder)
        files = {}
        for name in SHA256:
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"{folder / name} does not exist.", "the weights of the identity scorer.", f"run `{COMMAND}`."
                )
            files[name] = (folder / name).read_bytes()
            _verify(folder / name, files[name], f"delete it and run `{COMMAND}`.")
        return cls(_dequantised(files[MANIFEST], files[WEIGHTS]))

    def descriptor(self, image: Tensor) -> Tensor:
        """The descriptor [128] of a picture [3, S, S] in 0..1 that is aligned as FFHQ.

        Raises:
            ImageError: another shape, or no colours.
        """
        return self.embed(chip(image)[None])[0]

    @torch.no_grad()
    def embed(self, chips: Tensor) -> Tensor:
        """[B, 3, 150, 150] RGB in 0..255 -> [B, 128]."""
        x = (chips - torch.tensor(_MEAN)[:, None, None]) / _SCALE
        x = F.max_pool2d(F.relu(self._conv(x, "conv32_down", stride=2)), 3, 2)
        for block in BLOCKS:
            down = "down" in block
            inner = F.relu(self._conv(x, f"{block}/conv1", stride=2 if down else 1))
            inner = self._conv(inner, f"{block}/conv2")
            x = F.relu(_padded_sum(inner, F.avg_pool2d(x, 2)) if down else inner + x)
        return x.mean((2, 3)) @ self._fc

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        filters, bias = self._convs[name]
        return F.conv2d(x, filters, bias, stride, padding=filters.shape[-1] // 2 if stride == 1 else 0)

    @staticmethod
    def distance(a: Tensor, b: Tensor) -> float:
        """The Euclidean distance of two descriptors [128]; below 0.6 means the same person."""
        return float(torch.linalg.vector_norm(a - b))


def chip(image: Tensor) -> Tensor:
    """The network's input [3, 150, 150] in 0..255, cropped from a picture [3, S, S] in 0..1 that is aligned as FFHQ.

    Raises:
        ImageError: another shape, or no colours.
    """
    if image.ndim != 3 or image.shape[0] != 3 or image.shape[1] != image.shape[2] or image.numel() == 0:
        raise ImageError(
            f"The picture has the shape {list(image.shape)}.",
            "[3, S, S], a square RGB picture.",
            "align the face as FFHQ first (`pulse_core.faces`).",
        )
    check_colours(image)
    left, top, right, bottom = (edge * image.shape[-1] for edge in _CHIP)
    picture = to_pil(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return (
        torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(SIDE, SIDE, 3).permute(2, 0, 1).float()
    )


def _folded(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """A convolution with the scale layer after it folded in: filters [out, in, height, width] and bias [out]."""
    scale = weights[f"{name}/scale/weights"]
    filters = (weights[f"{name}/conv/filters"] * scale).permute(3, 2, 0, 1).contiguous()
    return filters, weights[f"{name}/conv/bias"] * scale + weights[f"{name}/scale/biases"]


def _padded_sum(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two [B, C, H, W], each padded with zeros to the larger size, in channels too."""
    sizes = [max(pair) for pair in zip(a.shape[1:], b.shape[1:], strict=True)]
    return _zero_padded(a, sizes) + _zero_padded(b, sizes)


def _zero_padded(x: Tensor, sizes: list[int]) -> Tensor:
    missing = [size - found for size, found in zip(sizes, x.shape[1:], strict=True)]
    return F.pad(x, [pad for count in reversed(missing) for pad in (0, count)])


def _dequantised(manifest: bytes, numbers: bytes) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js weights file; quantised ones are number * scale + min."""
    weights, start = {}, 0
    for row in json.loads(manifest)[0]["weights"]:
        levels = row.get("quantization")
        dtype = torch.uint8 if levels else torch.float32
        count = math.prod(row["shape"])
        end = start + count * dtype.itemsize
        tensor = torch.frombuffer(bytearray(numbers[start:end]), dtype=dtype)
        if levels:
            tensor = (tensor.double() * levels["scale"] + levels["min"]).float()
        weights[row["name"]], start = tensor.view(row["shape"]), end
    return weights


def fetch(folder: Path | str = ASSETS, *, say: Callable[[str], None] = print) -> Path:
    """Downloads the package with npm, without installing it, and writes its two files, both or neither.

    Does nothing if they exist.

    Args:
        folder: the destination; `Identity.load` reads there.
        say: receives the messages for the user: the licence first.

    Raises:
        CheckpointError: no npm, a failed download, or a checksum that does not match.
        OSError: the disk is full or not writable.
    """
    folder = Path(folder)
    say(f"{PACKAGE}: dlib's face descriptor\n  licence: MIT; the weights: public domain (bench/scorers/LICENSES.md)")
    if all((folder / name).is_file() for name in SHA256):
        say(f"  already there: {folder}")
        return folder
    say("  downloading 12.7 MB with npm, without installing it")
    with tempfile.TemporaryDirectory(prefix="pulse-bench-") as temporary:
        files = _unpacked(_download(Path(temporary)))
    for name, data in files.items():
        _verify(Path(name), data, "download again; if it still differs, the package has changed.")
    with ExitStack() as both:  # both are renamed when both are written
        written = {both.enter_context(whole_file(folder / name)): data for name, data in files.items()}
        for path, data in written.items():
            path.write_bytes(data)
    say(f"  wrote {folder} ({sum(map(len, files.values())) / 1e6:.1f} MB)")
    return folder


def _download(folder: Path) -> Path:
    """The package's archive, from the registry that npm is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        raise CheckpointError("npm was not found.", "npm, which comes with Node.js.", "install Node.js and try again.")
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    archive = next(folder.glob("*.tgz"), None)
    if result.returncode != 0 or archive is None:
        reason = (result.stderr.strip().splitlines() or ["npm printed no error"])[-1]
        raise CheckpointError(
            f"npm could not download {PACKAGE}: {reason}",
            "a working npm and a connection to a package registry.",
            f"check the connection and run `{COMMAND}` again.",
        )
    return archive


def _unpacked(archive: Path) -> dict[str, bytes]:
    """The two files, read from the archive without extracting it."""
    try:
        with tarfile.open(archive) as package:
            members = {name: package.extractfile(f"package/model/{name}") for name in SHA256}
            return {name: member.read() if member else b"" for name, member in members.items()}
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise CheckpointError(
            f"The downloaded {archive.name} cannot be read ({error}).", f"the archive of {PACKAGE}.", "download again."
        ) from error


def _verify(path: Path, data: bytes, remedy: str) -> None:
    found, known = hashlib.sha256(data).hexdigest(), SHA256[path.name]
    if found != known:
        raise CheckpointError(f"{path} has the SHA-256 {found}.", f"{known}.", remedy)
