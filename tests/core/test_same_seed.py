"""What docs/shell.md promises of a seed, each promise alone: the same pixels and the same latents, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pulse_core import cli
from pulse_core.latent_search.config import SearchConfig
from pulse_core.latents.latent import Latent
from pulse_core.pictures.images import read_image, save_image
from pulse_core.pipeline import choose_targets, search_targets


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures."""
    for number in range(3):
        image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(number))
        save_image(image, tmp_path / "in" / f"{number}.png")
    return tmp_path


@pytest.fixture(autouse=True)
def threads(request):
    """One CPU thread, as OMP_NUM_THREADS=1 sets it, or as many as the test says."""
    before = torch.get_num_threads()
    torch.set_num_threads(getattr(request, "param", 1))
    yield
    torch.set_num_threads(before)


def faces(tiny_file, inputs, out, *more):
    """The image and latent of each result by name."""
    words = ["upscale", inputs, "-o", out, "--generator", tiny_file, "--steps", 40, "--latents", "--seed", 3, *more]
    assert cli.main([str(word) for word in words]) == 0
    return {
        path.name: (read_image(path), Latent.load(path.with_suffix(".latent.safetensors")))
        for path in sorted(out.glob("*.png"))
    }


def same(one, two):
    return torch.equal(one[0], two[0]) and torch.equal(one[1].ws, two[1].ws)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_a_second_run_gives_the_same_bits(tiny_file, folder, threads):
    first = faces(tiny_file, folder / "in", folder / "a", "--device", "cpu", "--steps", 10)
    again = faces(tiny_file, folder / "in", folder / "b", "--device", "cpu", "--steps", 10)
    assert len(first) == 3
    assert all(same(first[name], again[name]) for name in first)
    assert not same(first["0.png"], first["1.png"])


def test_the_rest_of_a_folder_does_not_matter(tiny_file, folder):
    together = faces(tiny_file, folder / "in", folder / "a", "--device", "cpu")
    alone = faces(tiny_file, folder / "in" / "2.png", folder / "b", "--device", "cpu")
    assert same(together["2.png"], alone["2.png"])


def test_nor_does_the_rest_of_a_batch_that_is_searched_one_by_one(tiny, tiny_fit):
    pictures = [torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(3)]
    targets, config = choose_targets(pictures, tiny), SearchConfig(steps=40)
    together = list(search_targets(targets, tiny, tiny_fit, config, seed=3))[2]
    (alone,) = search_targets(targets[2:], tiny, tiny_fit, config, seed=3)
    assert torch.equal(together.image, alone.image)
    assert torch.equal(together.ws, alone.ws)


def test_workers_give_the_same_bits_as_one_process_with_as_many_threads(tiny_file, folder):
    plain = faces(tiny_file, folder / "in", folder / "a", "--device", "cpu")
    workers = faces(tiny_file, folder / "in", folder / "b", "--devices", "cpu,cpu")
    assert plain.keys() == workers.keys()
    assert all(same(plain[name], workers[name]) for name in plain)


def test_the_order_of_a_folder_does_not_matter(tiny_file, folder):
    names = [folder / "in" / f"{number}.png" for number in (2, 0, 1)]
    one = faces(tiny_file, folder / "in", folder / "a", "--device", "cpu")
    words = ["upscale", *names, "-o", folder / "b", "--generator", tiny_file, "--steps", 40, "--seed", 3]
    assert cli.main([str(word) for word in (*words, "--device", "cpu")]) == 0
    assert all(torch.equal(one[name][0], read_image(folder / "b" / name)) for name in one)
