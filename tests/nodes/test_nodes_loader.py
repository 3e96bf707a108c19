"""Which checkpoints the loader offers, when it reloads them, and what it says when one is missing."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from tiny import save_tiny

DEFAULT_FILE = "ffhq-mobile.safetensors"


def choices(pack):
    return pack.schema("LoadStyleGAN").inputs[0].metadata["options"]


def fingerprint(pack, name):
    return pack.nodes["LoadStyleGAN"].fingerprint_inputs(stylegan_file=name)


def test_a_loaded_generator_is_frozen_and_has_no_inference_tensors(generator):
    tensors = [*generator.parameters(), *generator.buffers()]
    assert tensors
    assert not any(tensor.is_inference() or tensor.requires_grad for tensor in tensors)
    assert (generator.name, generator.img_resolution, generator.num_ws, generator.training) == ("tiny", 32, 6, False)


def test_checkpoints_of_every_folder_are_offered(pack, host, models, weights, tmp_path):
    extra = tmp_path / "elsewhere"
    save_tiny(extra / "sub" / "mine.safetensors")
    (extra / "theirs.pth").write_bytes(b"x")
    (extra / "readme.txt").write_bytes(b"x")
    save_tiny(weights / "fetched.safetensors")
    host.folder_paths.folder_names_and_paths["stylegan"] = ([str(extra)], set())  # extra_model_paths.yaml leaves this
    pack.register()
    mine = os.path.join("sub", "mine.safetensors")
    assert choices(pack) == ["fetched.safetensors", mine, "theirs.pth", "tiny.safetensors", DEFAULT_FILE]
    assert pack.run("LoadStyleGAN", stylegan_file=mine)[0].source == extra / "sub" / "mine.safetensors"


def test_registering_keeps_the_folders_and_endings_of_others(pack, host, models, weights):
    host.folder_paths.folder_names_and_paths["stylegan"] = (["/others"], {".pkl"})
    pack.register()
    pack.register()
    paths, endings = host.folder_paths.folder_names_and_paths["stylegan"]
    assert paths == ["/others", str(models / "stylegan"), str(weights), str(models.parent / "output" / "stylegan")]
    assert {".pkl", ".safetensors", ".pt", ".pth"} <= endings


def test_latent_fits_are_not_offered_as_checkpoints(pack, generator, models):
    (fit,) = pack.run("FitLatentGaussian", stylegan=generator, samples=10)
    fit.save(models / "stylegan" / "mine.gaussian.safetensors")
    assert choices(pack) == ["tiny.safetensors", DEFAULT_FILE]


def test_a_known_checkpoint_is_offered_once_when_it_is_there(pack, weights):
    save_tiny(weights / DEFAULT_FILE)
    assert choices(pack) == [DEFAULT_FILE, "tiny.safetensors"]


def test_a_missing_known_checkpoint_names_file_folders_and_command(pack, models, weights):
    with pytest.raises(ValueError) as error:
        pack.run("LoadStyleGAN", stylegan_file=DEFAULT_FILE)
    text = str(error.value)
    for part in (DEFAULT_FILE, str(models / "stylegan"), str(weights), "-m pulse_core fetch ffhq-mobile`", "install"):
        assert part in text


def test_a_missing_unknown_checkpoint_is_to_be_put_into_the_models_folder(pack, models):
    with pytest.raises(ValueError, match="not on this machine") as error:
        pack.run("LoadStyleGAN", stylegan_file="mine.safetensors")
    assert f"put mine.safetensors into {models / 'stylegan'}" in str(error.value)
    assert "fetch" not in str(error.value)


@pytest.mark.parametrize(
    ("node", "combo", "name"),
    [
        ("LoadStyleGAN", "stylegan_file", DEFAULT_FILE),
        ("LoadStyleGAN", "stylegan_file", "mine.safetensors"),
        ("FitLatentGaussian", "fit_file", "gone.gaussian.safetensors"),
        ("PULSELoadLatent", "latent_file", "gone.latent.safetensors [output]"),
    ],
)
def test_a_missing_file_is_told_before_the_run(pack, node, combo, name):
    """Newer hosts compare combos with their choices unless validate_inputs names them, and tell only the choices."""
    said = pack.nodes[node].validate_inputs(**{combo: name})
    assert f"{name!r} is not on this machine" in said


def test_files_that_are_there_and_connected_inputs_are_valid(pack, models):
    assert pack.nodes["LoadStyleGAN"].validate_inputs(stylegan_file="tiny.safetensors") is True
    assert pack.nodes["LoadStyleGAN"].validate_inputs(stylegan_file=None) is True
    assert pack.nodes["FitLatentGaussian"].validate_inputs() is True
    assert pack.nodes["PULSELoadLatent"].validate_inputs(latent_file=None) is True


def test_a_damaged_checkpoint_is_named(pack, models):
    (models / "stylegan" / "cut.safetensors").write_bytes((models / "stylegan" / "tiny.safetensors").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"cut\.safetensors is a damaged safetensors file"):
        pack.run("LoadStyleGAN", stylegan_file="cut.safetensors")


def test_a_loaded_generator_no_longer_needs_its_file(pack, generator, models, tmp_path):
    """A checkpoint that is exchanged in place must not change, or crash, the host that has it loaded."""
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    other = save_tiny(tmp_path / "other.safetensors", seed=1)
    shutil.copyfile(other, models / "stylegan" / "tiny.safetensors")  # as cp does: the same file, other bytes
    assert not [name for name, tensor in generator.state_dict().items() if not torch.equal(tensor, before[name])]
    (again,) = pack.run("LoadStyleGAN", stylegan_file="tiny.safetensors")
    assert again.content_hash != generator.content_hash


def test_no_name_reaches_a_file_outside_of_the_folders(pack, models):
    save_tiny(models / "secret.safetensors")
    with pytest.raises(ValueError, match="not on this machine"):
        pack.run("LoadStyleGAN", stylegan_file="../secret.safetensors")


def test_the_fingerprint_stays_while_the_file_does(pack):
    assert fingerprint(pack, "tiny.safetensors") == fingerprint(pack, "tiny.safetensors")


def test_the_fingerprint_changes_with_the_modification_time(pack, models):
    path, before = models / "stylegan" / "tiny.safetensors", fingerprint(pack, "tiny.safetensors")
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))
    assert fingerprint(pack, "tiny.safetensors") != before


def test_the_fingerprint_changes_with_the_size(pack, models):
    path, before = models / "stylegan" / "tiny.safetensors", fingerprint(pack, "tiny.safetensors")
    time = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(time, time))
    assert fingerprint(pack, "tiny.safetensors") != before


def test_a_fit_is_cached_in_the_users_folder_and_read_back(pack, generator, host, models):
    (first,) = pack.run("FitLatentGaussian", stylegan=generator, samples=9000)
    assert [done for done, _, _ in host.updates] == [4096, 8192, 9000]
    assert {total for _, total, _ in host.updates} == {9000}
    host.updates.clear()
    (again,) = pack.run("FitLatentGaussian", stylegan=generator, samples=9000)
    assert not host.updates
    assert first.mean.shape == (generator.w_dim,)
    assert torch.allclose(first.mean.float(), again.mean)
    assert torch.allclose(first.std.float(), again.std)
    (other,) = pack.run("FitLatentGaussian", stylegan=generator, samples=9000, seed=1)
    assert not torch.equal(first.mean.float(), other.mean.float())
    assert (
        len(
            list(
                (models.parent / "user" / "pulse" / "fits").glob(
                    f"{generator.content_hash[:16]}-9000-*.gaussian.safetensors"
                )
            )
        )
        == 2
    )


def test_an_interrupted_fit_leaves_no_file(pack, generator, host, models):
    host.interrupt_at = 1
    with pytest.raises(host.management.InterruptProcessingException):
        pack.run("FitLatentGaussian", stylegan=generator, samples=9000)
    assert [path.name for path in (models / "stylegan").iterdir()] == ["tiny.safetensors"]
