"""Hostile files are ordinary input: each gives one clear CheckpointError, soon, in little memory, and does nothing."""

from __future__ import annotations

import copyreg
import io
import json
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from confined import clear, little_memory, outcomes
from hostile import EXTENSIONS, NUMBERS, PLACED, PROGRAMS, RUNNING, TENSORS, N, nests
from pickles import CONTAINERS, Code, bare, code, legacy, storage, tensor, write, zipped
from safetensors.torch import save
from writers import Network, save_nvlabs, stand_ins
from zoo import ZOO

from pulse_core.errors import CheckpointError
from pulse_core.loading.load import generator_from, load_generator

STYLEGAN1 = ZOO["stylegan1"]().tensors


def refused(path: Path, content: bytes, expected: str = "") -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_generator(path)
    assert clear(caught.value), caught.value


def all_refused(folder: Path, groups: dict[str, dict[str, bytes]]) -> None:
    """Files by the error that is expected and a title, loaded in a process that has little memory and time."""
    cases = [(expected, title) for expected, files in groups.items() for title in files]
    paths = [folder / f"{i} {re.sub('[^A-Za-z0-9]+', '-', title)[:80]}" for i, (_, title) in enumerate(cases)]
    for path, (expected, title) in zip(paths, cases, strict=True):
        path.write_bytes(groups[expected][title])
    for path, (expected, title), outcome in zip(paths, cases, outcomes(paths), strict=True):
        path.unlink()
        assert re.search(expected, outcome), (title, outcome)


# Code


@pytest.fixture
def traps(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder in which an import, a hub's repository and pickle's extensions make the file "marker"."""
    touch = f"open({str(tmp_path / 'marker')!r}, 'w').close()\n"
    (tmp_path / "innocent.py").write_text(f"word = {touch}")
    (tmp_path / "hubconf.py").write_text(f"def entry():\n    {touch}")
    monkeypatch.syspath_prepend(tmp_path)
    for (module, name), number in EXTENSIONS.items():
        copyreg.add_extension(module, name, number)
    yield tmp_path
    for (module, name), number in EXTENSIONS.items():
        copyreg.remove_extension(module, name, number)
    sys.modules.pop("innocent", None)


@pytest.mark.parametrize("title", RUNNING)
def test_nothing_is_run_that_an_ordinary_load_would_run(traps, title):
    program = RUNNING[title](traps)
    for container, contain in CONTAINERS.items():
        refused(traps / container, contain(program), "asks to run .* Nothing was run|in a way that no checkpoint does")
    assert not (traps / "marker").exists()
    pickle.loads(bare(program))
    assert (traps / "marker").exists()


# Programs


def test_programs_that_make_no_sense_or_too_much_of_it(tmp_path):
    programs = {
        f"{title}, {container}": contain(body)
        for container, contain in CONTAINERS.items()
        for title, body in PROGRAMS.items()
    }
    all_refused(tmp_path, {"What to do": programs})


@pytest.mark.parametrize("container", PLACED)
def test_tensors_that_are_not_what_they_say(tmp_path, container):
    place = PLACED[container]
    whole = {"whole": place(code({"w": tensor(storage(N), (N,), (1,))}), NUMBERS)}
    groups = {e: {t: place(code(content), NUMBERS) for t, content in files.items()} for e, files in TENSORS.items()}
    all_refused(tmp_path, {"no generator family": whole, **groups})


def test_keys_of_a_legacy_file(tmp_path):
    keys = {**nests(3_000), "numbers": code([0]), "none": code(None), "too many": code(["0"])}
    listed = {title: b"]" + key + b"a" for title, key in keys.items()}
    all_refused(tmp_path, {"list of tensors": {t: legacy(code({}), keys=key) for t, key in listed.items()}})


def tower(height: int, *names: str) -> torch.nn.Module:
    """Modules one in the other, each under all these names."""
    module = torch.nn.Module()
    for _ in range(height):
        inner, module = module, torch.nn.Module()
        module._modules = dict.fromkeys(names, inner)
    return module


def test_networks_that_are_no_trees(tmp_path):
    knot, twice = torch.nn.Module(), torch.nn.Module()
    knot._modules["x"] = knot
    nets = {"knot": knot, "2**40": tower(40, "left", "right"), "long": tower(40, "x")}
    files = {title: pickle.dumps({"G_ema": net}) for title, net in nets.items()}
    with stand_ins({"dnnlib.tflib.network.Network": Network}):
        network = Network({}, "G")
        for _ in range(40):
            network = Network({}, "G", left=network, right=network)
        files["2**40, TensorFlow"] = pickle.dumps((0, 0, network))
        network.components["left"] = network
        files["knot, TensorFlow"] = pickle.dumps((0, 0, network))
    twice._parameters, twice._buffers = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    names = {"twice": pickle.dumps({"G_ema": twice}), "number": pickle.dumps({1: torch.ones(1), "1": torch.ones(1)})}
    all_refused(tmp_path, {"inside of itself or in several": files, "the name '(G_ema.w|1)' twice": names})


# Formats


def rewritten(change: Callable[[zipfile.ZipFile], object], method: int = zipfile.ZIP_STORED, leave: str = "") -> bytes:
    """A whole torch file with another directory: `change` is called before that is written."""
    whole, file = io.BytesIO(), io.BytesIO()
    torch.save(STYLEGAN1, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w", method) as target:
        for info in source.infolist():
            if info.filename != leave:
                target.writestr(info.filename, source.read(info))
        change(target)
    return file.getvalue()


def setting(**values: int) -> Callable[[zipfile.ZipFile], object]:
    return lambda archive: [setattr(archive.filelist[3], name, value) for name, value in values.items()]


def second(name: str) -> Callable[[zipfile.ZipFile], object]:
    """One entry more, renamed when it has been written: zipfile would warn of an entry that is there already."""

    def add(archive: zipfile.ZipFile) -> None:
        archive.writestr("x", bare(code({})))
        archive.filelist[-1].filename = name

    return add


def two_in_one_place(archive: zipfile.ZipFile) -> None:
    archive.filelist[4].header_offset = archive.filelist[3].header_offset


def nothing(archive: zipfile.ZipFile) -> None:
    pass


def many_entries(count: int) -> bytes:
    whole = zipped(code({}))
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    directory = whole[start:end] * count
    return whole[:start] + directory + whole[end : end + 12] + len(directory).to_bytes(4, "little") + whole[end + 16 :]


def test_archives_that_torch_does_not_write(tmp_path):
    refused_as = {
        "compressed or encrypted": {
            "deflated": rewritten(nothing, zipfile.ZIP_DEFLATED),
            "bomb": rewritten(lambda archive: archive.writestr("archive/x", bytes(1 << 26)), zipfile.ZIP_DEFLATED),
            "encrypted": rewritten(setting(flag_bits=1)),
            "two sizes": rewritten(setting(file_size=2**40)),
        },
        "cut off on the way": {"huge": rewritten(setting(file_size=2**40, compress_size=2**40))},
        "does not fit its content": {
            "far away": rewritten(setting(header_offset=2**40)),
            "elsewhere": rewritten(setting(header_offset=7)),
        },
        "overlap": {"overlap": rewritten(two_in_one_place)},
        "several entries of one name": {"twice": rewritten(second("archive/data.pkl"))},
        "not one that torch.save writes": {
            "two roots": rewritten(second("other/data.pkl")),
            "no root": rewritten(nothing, leave="archive/data.pkl"),
        },
        "missing or of another length": {"missing": rewritten(nothing, leave="archive/data/7")},
        "not UTF-8": {"zip in a zip": zipped(zipped(b"N"))},
        "zip directory would have": {"many": many_entries(40_000)},
        "TorchScript": {"script": rewritten(lambda archive: archive.writestr("archive/constants.pkl", b""))},
    }
    load_generator(write(tmp_path, "whole", rewritten(nothing)))
    all_refused(tmp_path, refused_as)


def headed(header: object, body: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape: object = (16,), dtype: str = "F32", places: object = (0, 64), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": places, **more}


def test_safetensors_headers_that_lie(tmp_path):
    deep = b"[" * 100_000 + b"]" * 100_000
    texts = [b"{", b"{}}", b'{"w":1}', b'{"w":[]}', b'{"\xff":1}', b'{"w":%b}' % deep, b'{"__metadata__":%b}' % deep]
    ignored = json.dumps({"w": entry(ignored=0)}).encode()  # by safetensors, which might let all of these pass
    texts += [ignored.replace(b": 0}", b": %b}" % more) for more in (b"9" * 5000, deep, b'"\\ud800"')]
    texts += [b"{" + b" " * (5 << 20)]
    shapes = [(17,), (2**40,), (2**62, 4), (2**63,), (-1,), (4, 4.5), 16, (1,) * 9 + (16,), (16,) + (1,) * 100_000]
    places = [(0, 2**62), (64, 0), (64, 128), (1, 65), (0,), (0, 32), 0]
    entries = [{"w": entry(shape)} for shape in shapes] + [{"w": entry(places=place)} for place in places]
    entries += [{"w": entry(dtype=kind)} for kind in ("F8_E4M3", "U16", "x", None)] + [{"w": {}}]
    entries += [{"w": entry((0, 2**63), places=(0, 0))}, {"w": entry(), "v": entry()}]
    entries += [{"w": entry((4,), places=(0, 16)), "v": entry((4,), places=(48, 64))}]
    entries += [{"w": entry(), "__metadata__": {"family": 1}}]
    files = {f"{i}": headed(header) for i, header in enumerate([*texts, *entries])}
    lengths = {f"length {n}": headed({"w": entry()}, length=n) for n in (0, 1, 2**20, 2**31, 2**62, 2**64 - 1)}
    whole = {"no generator family": {"whole": headed({"w": entry()})}}
    all_refused(tmp_path, whole | {"damaged safetensors file": files, "damaged|begins with": lengths})


LIMITS = ("-1", "2", "NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "true", "null", '"x"', "[]", "{}")
SETTINGS = {
    "is not a JSON object": ["", "x", "[]", "1", "null", "9" * 5000, "[" * 100_000, '{"a":' * 100_000],
    "The setting 'norm_eps' of the checkpoint is": [f'{{"norm_eps": {value}}}' for value in LIMITS],
    "JSON object|The setting 'norm_eps'": [f'{{"norm_eps": {"[" * n}{"]" * n}}}' for n in range(900, 1000, 5)],
    "settings that a stylegan1 generator does not have": ['{"x": 1}', '{"norm_eps": 0.1, "conv_clamp": 1}'],
}


def test_settings_in_the_metadata_of_safetensors(tmp_path):
    meant = {"family": "stylegan1", "name": "x"}
    load_generator(write(tmp_path, "whole", save(STYLEGAN1, {**meant, "config": '{"norm_eps": 0.1}'})))

    def files(texts: list[str]) -> dict[str, bytes]:
        return {f"{i}": save(STYLEGAN1, {**meant, "config": text}) for i, text in enumerate(texts)}

    all_refused(tmp_path, {expected: files(texts) for expected, texts in SETTINGS.items()})


CLAMP, GAIN, ACTIVATION = "synthesis.b4.conv1.conv_clamp", "mapping.fc0.bias_gain", "mapping.fc0.activation"
FACTS = {
    "The setting 'conv_clamp'": [{CLAMP: value} for value in (0.0, -1, 10**400, float("inf"), "x")],
    "The setting 'mapping_lr'": [{GAIN: value} for value in (float("nan"), 10**600, None, True)],
    "activation": [{ACTIVATION: value} for value in ("relu" * 1000, 1, None)],
}


@pytest.mark.parametrize("expected", FACTS)
def test_attributes_of_a_pickled_network(tmp_path, expected):
    for metadata in FACTS[expected]:
        path = save_nvlabs(tmp_path / "x.pkl", ZOO["stylegan2 resnet"]().tensors, metadata)
        refused(path, path.read_bytes(), expected)


# Small files that ask for much memory or time


def filters_of(side: int) -> dict[str, torch.Tensor]:
    """A StyleGAN2 whose layers would each repeat a large filter for all channels."""
    tensors = dict(ZOO["stylegan2 skip"]().tensors)
    shared = torch.ones(side, side)
    return tensors | {name: shared for name in tensors if name.endswith("resample_filter")}


def radial(side: int) -> dict[str, torch.Tensor]:
    tensors = dict(ZOO["stylegan3 r"]().tensors)
    name = next(name for name in tensors if name.endswith("down_filter"))
    return tensors | {name: torch.ones(side, side)}


def labelled(classes: int) -> dict[str, torch.Tensor]:
    """10,000 labels of so many classes would be drawn for the mean of W."""
    tensors = dict(ZOO["stylegan2 conditional"]().tensors)
    del tensors["mapping.w_avg"]
    width = tensors["mapping.embed.weight"].shape[0]
    return tensors | {"mapping.embed.weight": torch.zeros(width, classes)}


def wide(width: int) -> dict[str, torch.Tensor]:
    """10,000 latents would go through a layer of this width."""
    tensors = {name: t for name, t in ZOO["stylegan2 skip"]().tensors.items() if name != "mapping.w_avg"}
    w_dim = tensors["mapping.fc1.weight"].shape[0]
    layers = {"fc0.weight": torch.full((width, 1), 100.0), "fc0.bias": torch.zeros(width)}
    layers["fc1.weight"] = torch.full((w_dim, width), 100.0)
    return tensors | {f"mapping.{name}": tensor for name, tensor in layers.items()}


def coloured(colours: int) -> dict[str, torch.Tensor]:
    tensors = dict(ZOO["stylegan2 orig, grey"]().tensors)
    for name in [name for name in tensors if ".torgb." in name and "affine" not in name]:
        tensors[name] = tensors[name].repeat_interleave(colours, 0)
    return tensors


def test_small_files_that_ask_for_much_memory(tmp_path):
    files = {
        r"resampling filter .* has the shape \[2000, 2000\]|at most": filters_of(2000),
        r"down_filter' has shape \[2000, 2000\]": radial(2000),
        r"is for 60,000 classes": labelled(60_000),
        r"has a layer of the shape \[100000, 1\]": wide(100_000),
        r"has shape \[96, .*at most 4 channels of an image": coloured(96),
    }
    contents = {}
    for expected, tensors in files.items():
        file = io.BytesIO()
        torch.save(tensors, file)
        assert len(file.getvalue()) < 30_000_000
        contents[expected] = {expected[:20]: file.getvalue()}
    all_refused(tmp_path, contents)


def test_the_mean_of_w_is_estimated_in_little_memory():
    """Of as many classes as any data set has."""
    generator = generator_from({**labelled(20_000)}, name="x")
    with little_memory(400_000_000):  # 10,000 labels at once would take 800 MB
        assert generator.mapping.w_avg.isfinite().all()


def directory_of(**numbers: int) -> bytes:
    """A whole torch file whose zip directory claims other numbers: at entry (uint16 12) and size (uint32 12)."""
    whole = bytearray(zipped(code({})))
    end = whole.rindex(b"PK\x05\x06")
    for place, value in numbers.items():
        at = end + int(place.removeprefix("at"))
        whole[at : at + 4] = value.to_bytes(4, "little")
    return bytes(whole)


def big_endian(order: bytes) -> bytes:
    return rewritten(lambda archive: archive.writestr("archive/byteorder", order), leave="archive/byteorder")


def test_zip_directories_that_lie(tmp_path):
    refused_as = {
        "zip directory would have": {
            "a million entries": many_entries(400_000),
            "4 GB": directory_of(at12=2**32 - 2),
            "1 GB": directory_of(at12=2**30),
        },
        "byte order of another kind": {"big": big_endian(b"big"), "long": big_endian(b"little" * 100)},
    }
    load_generator(write(tmp_path, "whole", big_endian(b"little")))
    all_refused(tmp_path, refused_as)


def test_files_with_very_many_names(tmp_path):
    zero = Code(tensor(storage(1), (1,), (1,)) + b"q\x000")
    again = Code(b"h\x00")
    marks = {f"p{i}.dense0.weight": again for i in range(5_000)}
    flat = {f"{i}.{'x' * 300}": again for i in range(90_000)}
    nested = {"a": {str(i): {"b": {"c": again}} for i in range(30_000)}}
    facts = {"x": again, **{f"synthesis.b4.conv{i}.activation": "lrelu" for i in range(90_000)}}
    files = {
        "5,000 generators": marks,
        "belong to no generator family|more than|bytes but": flat,
        "more than 100,000 items|bytes but": nested,
        "belong to no generator family|bytes but|more than": facts,
    }
    groups = {e: {e[:9]: zipped(Code(zero + code(content)), {"0": bytes(4)})} for e, content in files.items()}
    all_refused(tmp_path, groups)
