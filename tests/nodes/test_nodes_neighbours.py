"""Other packs' generators in our nodes, and ours in theirs. Theirs are NVlabs' G_ema, and what its users call on it."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from writers import save_nvlabs
from zoo import ZOO


class TheirMapping(nn.Module):
    def __init__(self, num_ws):
        super().__init__()
        self.num_ws, self.fc = num_ws, nn.Linear(8, 8)
        self.register_buffer("w_avg", torch.zeros(8))

    def forward(self, z, c, truncation_psi=1, truncation_cutoff=None):
        assert c is None
        return F.leaky_relu(self.fc(z), 0.2)[:, None].repeat(1, self.num_ws, 1)


class TheirSynthesis(nn.Module):
    """16x8 pixels. Its noise comes from the global state unless it is "const", as in NVlabs' code."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3 * 16 * 8)
        self.calls = []

    def forward(self, ws, noise_mode="random", force_fp32=False):
        self.calls.append((noise_mode, force_fp32))
        image = self.fc(ws.mean(1)).view(-1, 3, 16, 8)
        return image + torch.randn_like(image) if noise_mode == "random" else image


class TheirGenerator(nn.Module):
    z_dim = w_dim = 8
    c_dim, num_ws, img_resolution, img_channels = 0, 4, 16, 3

    def __init__(self):
        super().__init__()
        self.mapping, self.synthesis = TheirMapping(self.num_ws), TheirSynthesis()


@pytest.fixture
def theirs():
    """Made in inference mode, as a loader node would."""
    assert torch.is_inference_mode_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TheirGenerator()


def test_their_generator_is_searched(pack, theirs):
    image, latent = pack.run("PULSESampleFace", stylegan=theirs, seed=3, truncation=1.0)
    assert image.shape == (1, 16, 8, 3)
    assert latent.shape == (1, 4, 8)
    (target,) = pack.run("BicubicDownsample", image=image, factor=2)
    (fit,) = pack.run("FitLatentGaussian", stylegan=theirs, samples=2000)
    found = pack.run("PULSESearch", stylegan=theirs, image=target, gaussian=fit, steps=60, eps=1e-3, seed=1)
    report = json.loads(found[3])
    assert report["images"][0]["converged"], report
    assert found[0].shape == (1, 16, 8, 3)
    assert set(theirs.synthesis.calls) == {("const", True)}


def test_their_generator_is_wrapped_once_and_let_go(pack, theirs, host):
    for _ in range(2):
        pack.run("PULSESampleFace", stylegan=theirs)
    assert len(host.patchers) == 1
    wrapped = pack.submodule("nodes.host")._WRAPPED
    assert theirs in wrapped
    wrapper = wrapped[theirs]
    assert wrapper.size == (16, 8)
    assert len(wrapper.content_hash) == 64


def test_an_object_without_the_interface_is_refused(pack):
    text = r"is a Linear without z_dim, .*synthesis\..*the interface of NVlabs' G_ema"
    for node in ("PULSESampleFace", "FitLatentGaussian", "PULSEInspectStyleGAN", "PULSESaveStyleGAN"):
        with pytest.raises(ValueError, match=text):
            pack.run(node, stylegan=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="is a str without"):
        pack.run("PULSESampleFace", stylegan="ffhq")


def test_our_generator_in_their_sampler(pack, generator):
    """Latents one by one, and a blend of two."""
    _, latents = pack.run("PULSESampleFace", stylegan=generator, count=2)
    blend = torch.lerp(latents[:1], latents[1:], 0.5)
    for ws in (latents[0].unsqueeze(0), blend):
        for mode in ("const", "random"):
            image = generator.synthesis(ws, noise_mode=mode)
            assert image.shape == (1, 3, 32, 32)
    torch.testing.assert_close(
        generator.synthesis(latents.double(), noise_mode="const", force_fp32=True), generator.synthesis(latents)
    )
    with pytest.raises(TypeError, match="no argument 'update_noise'"):
        generator.synthesis(latents, update_noise=True)


def test_our_generator_in_their_inversion(pack, generator):
    """A projector copies the generator, maps numpy's float64 draws, and moves the noise maps of the copy."""
    pack.run("PULSESampleFace", stylegan=generator)  # the host's memory management knows it by now
    with torch.inference_mode(False), torch.enable_grad():
        copied = copy.deepcopy(generator).eval().requires_grad_(False).to("cpu")
        z = np.random.RandomState(0).randn(100, copied.z_dim)
        w = copied.mapping(torch.from_numpy(z), None)[:, :1].mean(0, keepdim=True).detach().requires_grad_()
        noise = {name: buffer for name, buffer in copied.synthesis.named_buffers() if "noise_const" in name}
        assert [buffer.ndim for buffer in noise.values()] == [2] * len(copied.noise_shapes)
        for buffer in noise.values():
            buffer[:] = torch.randn_like(buffer)
            buffer.requires_grad = True
        image = copied.synthesis(w.repeat(1, copied.mapping.num_ws, 1), noise_mode="const")
        image.square().mean().backward()
        assert w.grad.abs().max() > 0
        assert all(buffer.grad.abs().max() > 0 for buffer in noise.values())
    before = generator.synthesis(w.detach().repeat(1, generator.num_ws, 1))
    assert (image.detach() - before).abs().max() > 0  # the original kept its noise


def test_inspect_says_what_a_generator_is(pack, host, generator, theirs):
    metadata = json.loads(pack.run("PULSEInspectStyleGAN", stylegan=generator)[0])
    assert (metadata["family"], metadata["resolution"], metadata["format"]) == (
        "mobilestylegan",
        "32x32",
        "safetensors",
    )
    assert len(metadata["sha256"]) == 64
    ((node, text, browser),) = host.texts
    assert (node, browser) == ("PULSEInspectStyleGAN", "browser")
    assert text.startswith("mobilestylegan, 32x32, 3 channels\nw of 16, 6 style vectors, 5 noise maps\n")
    assert text.endswith("licence: unknown; ask where you got it")
    metadata = json.loads(pack.run("PULSEInspectStyleGAN", stylegan=theirs)[0])
    assert (metadata["family"], metadata["resolution"], metadata["format"]) == ("foreign", "8x16", "in memory")


@pytest.mark.parametrize("example", ["stylegan2 skip", "stylegan2 tall", "stylegan3 r"])
def test_save_writes_what_load_reads_again(pack, models, example):
    save_nvlabs(models / "stylegan" / "g.pkl", ZOO[example]().tensors)
    (generator,) = pack.run("LoadStyleGAN", stylegan_file="g.pkl")
    paths = [pack.run("PULSESaveStyleGAN", stylegan=generator)[0] for _ in range(2)]
    assert len(set(paths)) == 2
    pack.register()  # the combo lists the new files
    choices = next(i for i in pack.schema("LoadStyleGAN").inputs if i.id == "stylegan_file").metadata["options"]
    assert "generator_00001_.safetensors" in choices
    (again,) = pack.run("LoadStyleGAN", stylegan_file="generator_00001_.safetensors")
    assert again.content_hash == generator.content_hash
    ws = torch.randn(1, generator.num_ws, generator.w_dim)
    assert torch.equal(again.synthesis(ws), generator.synthesis(ws))


def test_save_of_another_packs_generator(pack, theirs):
    """Another program's StyleGAN2 is saved under our names; a network that we do not know is refused."""
    core = pack.submodule("pulse_core.loading.load")

    class Wrapped(nn.Module):
        def __init__(self, half, tensors):
            super().__init__()
            self.half = [half]  # not a child: the state dict is the one below
            for name, tensor in tensors.items():
                self.register_parameter(name.replace(".", "_"), nn.Parameter(tensor, requires_grad=False))
            self._names = {name.replace(".", "_"): name for name in tensors}

        def state_dict(self, *args, **kwargs):
            return {self._names[name]: tensor for name, tensor in self.named_parameters()}

        def forward(self, *args, **kwargs):
            return self.half[0](*args, **kwargs)

    tensors = ZOO["stylegan2 skip"]().tensors
    ours = core.generator_from(tensors, name="ours")
    other = TheirGenerator()
    for name in ("z_dim", "c_dim", "w_dim", "num_ws", "img_channels"):
        setattr(other, name, getattr(ours, name))
    for half in ("mapping", "synthesis"):
        mine = {k.removeprefix(f"{half}."): v for k, v in tensors.items() if k.startswith(half)}
        setattr(other, half, Wrapped(getattr(ours, half), mine))
    (path,) = pack.run("PULSESaveStyleGAN", stylegan=other)
    again = core.load_generator(path)
    assert again.content_hash == ours.content_hash
    with pytest.raises(ValueError, match="belong to no generator family"):
        pack.run("PULSESaveStyleGAN", stylegan=theirs)


def test_a_class_of_a_conditional_generator(pack, models):
    save_nvlabs(models / "stylegan" / "g.pkl", ZOO["stylegan2 conditional"]().tensors)
    (generator,) = pack.run("LoadStyleGAN", stylegan_file="g.pkl")
    images = [pack.run("PULSESampleFace", stylegan=generator, class_label=label)[0] for label in (0, 1, -1)]
    assert not torch.equal(images[0], images[1])
    (small,) = pack.run("BicubicDownsample", image=images[1], factor=4)
    (fit,) = pack.run("FitLatentGaussian", stylegan=generator, samples=2000, class_label=1)
    (other,) = pack.run("FitLatentGaussian", stylegan=generator, samples=2000, class_label=0)
    assert not torch.equal(fit.mean, other.mean)
    pack.run("PULSESearch", stylegan=generator, image=small, gaussian=fit, class_label=1, steps=2)
    with pytest.raises(ValueError, match="The class is 9, and this generator has 5 classes"):
        pack.run("PULSESampleFace", stylegan=generator, class_label=9)


def test_a_fit_of_the_published_code(pack, generator, models):
    torch.save({"mean": torch.zeros(16), "std": torch.ones(16)}, models / "stylegan" / "gaussian_fit.pt")
    pack.register()
    options = {i.id: i.metadata.get("options") for i in pack.schema("FitLatentGaussian").inputs}
    assert "gaussian_fit.pt" in options["fit_file"]
    assert "gaussian_fit.pt" not in next(i.metadata["options"] for i in pack.schema("LoadStyleGAN").inputs)
    (fit,) = pack.run("FitLatentGaussian", stylegan=generator, fit_file="gaussian_fit.pt")
    assert torch.equal(fit.std, torch.ones(16))
