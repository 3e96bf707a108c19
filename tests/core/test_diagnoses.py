"""Files that are no checkpoint are named for what they are, with what to do."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from zoo import ZOO

from pulse_core.checkpoints import other_formats
from pulse_core.errors import CheckpointError
from pulse_core.loading.load import load_generator

STATE = ZOO["stylegan1"]().tensors


def archive(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            target.writestr(name, b"x")
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def script():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


FILES = {
    "an HDF5 file": lambda: b"\x89HDF\r\n\x1a\n" + bytes(50),
    "a single numpy array": lambda: b"\x93NUMPY\x01\x00" + bytes(50),
    "a GGUF file": lambda: b"GGUF\x03\x00\x00\x00" + bytes(50),
    "a Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "a web page": lambda: b"<!DOCTYPE html><title>Quota exceeded</title>",
    "a gzip archive": lambda: b"\x1f\x8b\x08" + bytes(50),
    "a 7z archive": lambda: b"7z\xbc\xaf\x27\x1c" + bytes(50),
    "a RAR archive": lambda: b"Rar!\x1a\x07" + bytes(50),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(50),
    "an ONNX graph": lambda: b"\x08\x07\x12\x07pytorch" + bytes(50),
    "an archive of numpy arrays": lambda: npz(w=np.zeros(3)),
    "a TorchScript program": script,
    "a program that torch.export wrote": lambda: archive("x/serialized_exported_program.json", "x/version"),
    r"a package that torch.export wrote \(.pt2\)": lambda: archive("x/archive_format", "x/models/model.json"),
    "a Keras archive": lambda: archive("metadata.json", "config.json", "model.weights.h5"),
    "a zip archive with a checkpoint inside": lambda: archive("model/G_ema.pkl", "readme.txt"),
}


@pytest.mark.parametrize("what", FILES)
def test_each_is_named(tmp_path, what):
    path = tmp_path / "x.pt"
    path.write_bytes(FILES[what]())
    with pytest.raises(CheckpointError, match=rf"x\.pt is {what}.*What to do: .{{15}}") as caught:
        load_generator(path)
    assert str(path) in str(caught.value)


def test_every_line_of_the_tables_has_its_words():
    for _, what, remedy in (*other_formats.BEGINNINGS, *other_formats.ARCHIVES):
        assert what.startswith(("a ", "an "))
        assert remedy.endswith(".")


def test_a_program_that_torch_export_writes(tmp_path):
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(exported, tmp_path / "x.pt2")
    with pytest.raises(CheckpointError, match=r"is a (program|package) that torch\.export wrote"):
        load_generator(tmp_path / "x.pt2")


UNUSABLE = {
    "float8_e4m3fn": lambda t: t.to(torch.float8_e4m3fn),
    "quantised numbers": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    "complex64": lambda t: t.to(torch.complex64),
    "uint16": lambda t: t.to(torch.uint16),
}


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize("kind", UNUSABLE)
def test_numbers_of_types_that_lost_too_much_are_refused_by_name(tmp_path, kind):
    torch.save({**STATE, "synthesis.torgb.bias": UNUSABLE[kind](STATE["synthesis.torgb.bias"])}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"'synthesis.torgb.bias' of .* has .*{kind}.*weights of float32"):
        load_generator(tmp_path / "x.pt")


def test_fp8_in_safetensors_is_refused_by_name(tmp_path):
    bias = STATE["synthesis.torgb.bias"].to(torch.float8_e4m3fn)
    save_file({**STATE, "synthesis.torgb.bias": bias}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"has numbers of the type F8_E4M3.*weights of float32"):
        load_generator(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_half_precisions_load(tmp_path, kind, ending):
    state = {name: tensor.to(kind) for name, tensor in STATE.items()}
    if ending == "pt":
        torch.save(state, tmp_path / "x.pt")
    else:
        save_file(state, tmp_path / "x.safetensors")
    generator = load_generator(tmp_path / f"x.{ending}")
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}


def test_what_is_quantised_beside_the_generator_does_not_matter(tmp_path):
    torch.save({"g_ema": STATE, "d": {"w": torch.zeros(2).to(torch.float8_e4m3fn)}}, tmp_path / "x.pt")
    assert load_generator(tmp_path / "x.pt").place == "g_ema."
