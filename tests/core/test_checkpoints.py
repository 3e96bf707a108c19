"""Reading checkpoint files, whole and broken, without executing anything in them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from tiny import save_tiny, tiny_mobile_tensors

from pulse_core.checkpoints import FORMATS, read_checkpoint
from pulse_core.checkpoints.random_face import read_random_face
from pulse_core.errors import CheckpointError
from pulse_core.fetching.fetch import fetch
from pulse_core.generators import FAMILIES
from pulse_core.loading import catalogue
from pulse_core.loading.load import load_generator


def test_the_same_generator_from_both_formats(tmp_path):
    one = load_generator(save_tiny(tmp_path / "a.safetensors"))
    torch.save(tiny_mobile_tensors(), tmp_path / "b.pt")
    torch.save(tiny_mobile_tensors(), tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("b.pt", "legacy.pth"):
        other = load_generator(tmp_path / name)
        assert other.content_hash == one.content_hash
        z = torch.randn(1, 16)
        assert torch.equal(other(z), one(z))


def test_loading_sets_device_dtype_name_and_source(tiny_file):
    generator = load_generator(tiny_file, dtype=torch.float64)
    assert {p.dtype for p in generator.parameters()} == {torch.float64}
    assert generator.name == "tiny"
    assert generator.source == tiny_file


def test_synthesis_takes_the_mapping_beside_it_or_the_one_named(tmp_path, golden):
    tensors = golden("stylegan1")
    synthesis = {k.removeprefix("synthesis."): v for k, v in tensors.items() if k.startswith("synthesis.")}
    mapping = {
        f"dense{i}.{p}": torch.randn((512, 512) if p == "weight" else 512) * 100
        for i in range(8)
        for p in ("weight", "bias")
    }
    torch.save(synthesis, tmp_path / "synthesis.pt")
    assert not load_generator(tmp_path / "synthesis.pt").has_mapping
    torch.save(mapping, tmp_path / "other.pt")
    named = load_generator(tmp_path / "synthesis.pt", tmp_path / "other.pt")
    (tmp_path / "other.pt").rename(tmp_path / "mapping.pt")
    beside = load_generator(tmp_path / "synthesis.pt")
    assert named.has_mapping
    assert beside.content_hash == named.content_hash


def test_a_pickle_in_a_pt_file_is_not_executed(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"w": Hostile()}, tmp_path / "hostile.pt")
    with pytest.raises(CheckpointError, match="asks to run"):
        read_checkpoint(tmp_path / "hostile.pt")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert (tmp_path / "executed").exists()  # an ordinary load would have run it


@pytest.mark.parametrize("kind", ["missing", "directory", "empty", "page", "plain pickle", "no tensors"])
def test_files_that_are_no_checkpoint(tmp_path, kind):
    path = tmp_path / "x.pt"
    if kind == "directory":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "page":
        path.write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    elif kind == "plain pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "no tensors":
        torch.save({}, path)
    expected = {
        "missing": "There is no file",
        "directory": "is a directory",
        "empty": "is empty",
        "page": r"is a web page \(it begins with b'<!DOCTYPE",
        "plain pickle": "holds no tensors",
        "no tensors": "holds no tensors",
    }
    with pytest.raises(CheckpointError, match=expected[kind]) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "Accepted: " in str(caught.value)
    assert "What to do: " in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_one_clear_error(tmp_path, suffix, share):
    path = tmp_path / f"x.{suffix}"
    if suffix == "pt":
        torch.save(tiny_mobile_tensors(), path)
    else:
        save_tiny(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(9, int(len(whole) * share))])
    with pytest.raises(CheckpointError) as caught:
        load_generator(path)
    assert "x." in str(caught.value)


def test_tensors_that_are_no_generator(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"belong to no generator family .*\(the first names: 0\)"):
        load_generator(tmp_path / "x.pt")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CheckpointError, match=r"no file 'ffhq', and no known generator.*ffhq-mobile"):
        load_generator("ffhq")


def test_a_known_name_that_was_not_fetched_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("PULSE_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="run: python -m pulse_core fetch ffhq-mobile"):
        load_generator("ffhq-mobile")


def test_the_catalogue_is_complete():
    for row in catalogue.entries():
        assert row.license
        assert row.ask.startswith("https://")
        assert row.format in {form.NAME for form in FORMATS}
        assert row.family in {family.family for family in FAMILIES}
        assert row.resolution[0] > 0 < row.resolution[1]
        assert row.bytes is None or row.bytes > 10**6
        for digest in (row.sha256, row.content_hash):
            assert digest is None or re.fullmatch("[0-9a-f]{64}", digest)
        assert (row.sha256 is None) == (row.checksum is None)
        assert row.checksum in (None, "confirmed", "reported")
    names = [row.name for row in catalogue.entries()]
    assert len(set(names)) == len(names)
    for row in catalogue.downloadable():
        assert row.source is not None or re.fullmatch(rf"https://[^?#]*/{re.escape(row.file)}", row.address)
    for row in catalogue.fetchable():
        assert row.lineage
        assert row.content_hash
        assert len(row.source["sha256"]) == 64


def test_a_known_checkpoint_that_is_not_fetched_says_where_to_ask():
    text = (
        r"'karras2019stylegan-ffhq-1024x1024' is known but.*ask its publisher for karras2019stylegan-ffhq-.*\(https://"
    )
    with pytest.raises(CheckpointError, match=text):
        load_generator("karras2019stylegan-ffhq-1024x1024")
    with pytest.raises(CheckpointError, match=r"only to a browser or an account.*ffhq-mobile.*ask its"):
        fetch("karras2019stylegan-ffhq-1024x1024")


def test_a_known_checkpoint_at_a_plain_address_says_how_to_fetch_it():
    with pytest.raises(CheckpointError, match="run: python -m pulse_core fetch stylegan3-t-ffhq-1024x1024"):
        load_generator("stylegan3-t-ffhq-1024x1024")


def test_another_openvino_graph_is_refused(tmp_path):
    import zipfile

    xml = '<net><layers><layer id="0" type="Parameter" name="z"/></layers><edges/></net>'
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        for network in ("Mapping", "Synthesis"):
            archive.writestr(f"random_face/data/{network}Network.xml", xml)
            archive.writestr(f"random_face/data/{network}Network.bin", b"")
    with pytest.raises(CheckpointError, match=r"no layer 'm\.input\.input'.*random-face 2021\.7\.21\.1"):
        read_random_face(tmp_path / "x.whl")
