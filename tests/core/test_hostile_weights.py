"""Files cut off anywhere, and whole ones whose tensors are not a generator's: each gives one clear CheckpointError."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from confined import clear, outcomes
from torch import Tensor
from writers import ENDINGS, FORMATS, save_torch, smallest
from zoo import ZOO

from pulse_core.errors import CheckpointError
from pulse_core.loading.load import generator_from, load_generator

SPECIES = ["mobilestylegan", "stylegan1 conditional", "stylegan2 conditional", "stylegan2 resnet"]
SPECIES += ["stylegan2 rosinality", "stylegan3 r"]
BROKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "NaN": lambda t: torch.full_like(t, torch.nan),
    "infinite": lambda t: torch.full_like(t, -torch.inf),
    "too large for float32": lambda t: torch.full_like(t, 1e300, dtype=torch.float64),
    "integers": lambda t: t.int(),
    "empty": lambda t: t.new_empty((0, *t.shape[1:])),
    **{f"longer {axis}": lambda t, axis=axis: torch.cat([t, t.narrow(axis, 0, 1)], axis) for axis in range(5)},
}
# What a generator may be without, what it may have in any size, and filters of which it has one copy a layer
OPTIONAL = re.compile(r".*(noise_const|noises\.noise_\d|w_avg|label_concat\.weight|resample_filter|kernel)")
FREE = re.compile(r"(mapping\.(fc0|dense0|embed)|style\.1)\.weight longer 1|.*label_concat.* longer [01]")
ANY_SIZE = re.compile(r".*((up|down)_filter|4x4\.const) longer \d|.*(resample_filter|kernel) .*")


def draws(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> bool:
    """False for a clear error; a generator must draw images of the size that it says."""
    try:
        generator = generator_from(tensors, metadata, name="x")
    except CheckpointError as error:
        if clear(error):
            return False
        raise
    c = torch.eye(generator.c_dim)[:1] if generator.c_dim else None
    image = generator(torch.zeros(1, generator.z_dim), c)
    assert image.shape == (1, generator.img_channels, *generator.size)
    return True


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_off_at_any_kilobyte(tmp_path, name):
    path = tmp_path / f"x{ENDINGS.get(FORMATS[name], '.pt')}"
    FORMATS[name](path, smallest(FORMATS[name]))
    load_generator(path)
    for length in reversed(range(0, path.stat().st_size, 1024)):
        with path.open("r+b") as file:
            file.truncate(length)
        with pytest.raises(CheckpointError) as caught:
            load_generator(path)
        assert clear(caught.value), length
        assert str(path) in str(caught.value), length


@pytest.mark.parametrize("name", SPECIES)
def test_every_tensor_of_every_family_is_checked(name):
    example = ZOO[name]()
    assert draws(example.tensors, example.metadata)
    assert not draws({**example.tensors, "synthesis.more": torch.zeros(1)}, example.metadata)
    for key, tensor in example.tensors.items():
        rest = {other: tensor for other, tensor in example.tensors.items() if other != key}
        assert not draws(rest, example.metadata) or OPTIONAL.fullmatch(key), f"without {key}"
        for kind, broken in BROKEN.items():
            if kind.startswith("longer") and int(kind[-1]) >= tensor.ndim:
                continue
            case = f"{key} {kind}"
            if draws({**example.tensors, key: broken(tensor)}, example.metadata):
                assert FREE.fullmatch(case) or ANY_SIZE.fullmatch(case), case


@pytest.mark.parametrize("without", [r"synthesis\.b16\.torgb\..*", r"synthesis\.b16\.conv0\..*", r"mapping\.fc1\..*"])
def test_a_stylegan2_without_one_of_its_layers(without):
    example = ZOO["stylegan2 skip"]()
    rest = {key: tensor for key, tensor in example.tensors.items() if not re.fullmatch(without, key)}
    assert len(rest) < len(example.tensors)
    assert not draws(rest, example.metadata)


SIDES = [2**power for power in range(6, 21)]
LARGER = {  # the last blocks of a generator, and what the same blocks would be called in a larger one
    "mobilestylegan": {"synthesis.block1.": [f"synthesis.block{i}." for i in range(2, 60)]},
    "stylegan1": {"synthesis.blocks.32x32.": [f"synthesis.blocks.{side}x{side}." for side in SIDES]},
    "stylegan2 resnet": {"synthesis.b32.": [f"synthesis.b{side}." for side in SIDES]},
    "stylegan2 rosinality": {
        **{f"convs.{i}.": [f"convs.{j}." for j in range(i + 2, 990, 2)] for i in (6, 7)},
        "to_rgbs.3.": [f"to_rgbs.{i}." for i in range(4, 495)],
    },
}


def test_a_small_file_for_gigantic_images(tmp_path):
    paths = []
    for name, blocks in LARGER.items():
        tensors = {key: tensor for key, tensor in ZOO[name]().tensors.items() if "kernel" not in key}
        for last, others in blocks.items():
            block = {key: t for key, t in tensors.items() if key.startswith(last) and "noise_const" not in key}
            tensors |= {key.replace(last, other): t.clone() for other in others for key, t in block.items()}
        paths.append(save_torch(tmp_path / f"{name}.pt", tensors))
    layers = {key.replace("_64_", "_65536_"): tensor for key, tensor in ZOO["stylegan3 r"]().tensors.items()}
    paths.append(save_torch(tmp_path / "stylegan3.pt", layers))
    for path, outcome in zip(paths, outcomes(paths), strict=True):
        assert path.stat().st_size < 20_000_000
        assert re.search(r"images with a side of \d+ pixels", outcome), (path.name, outcome)
