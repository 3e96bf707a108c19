"""A generator under any prefix and beside anything: the averaged one is taken, the rest is not interpreted."""

from __future__ import annotations

import os
import pickle
import sys
from zipfile import ZipFile

import pytest
import torch
from pickles import Code, call, code, name, new
from writers import EasyDict, _reconstruct_persistent_obj, modules_of, rosinality, save_torch, stand_ins
from zoo import ZOO

from pulse_core.errors import CheckpointError
from pulse_core.loading.inspection import describe
from pulse_core.loading.layouts.places import is_averaged
from pulse_core.loading.load import load_generator

STATE = ZOO["stylegan2 rosinality"]().tensors
OTHER = {key: torch.randn_like(tensor) for key, tensor in STATE.items()}


def prefixed(prefix, state=STATE):
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def image(generator):
    ws = torch.linspace(-1, 1, generator.num_ws * generator.w_dim).view(1, generator.num_ws, -1)
    return generator.synthesis(ws)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return image(load_generator(save_torch(tmp_path_factory.mktemp("w") / "x.pt", STATE)))


ALONE = ["module.", "_orig_mod.", "generator.", "g_ema.", "G_ema.", "netG.", "state_dict.", "params.", "params_ema."]
ALONE += ["ema.", "model.", "model_state_dict.", "netG.module.", "g_running.", "generator_smooth.", "state_dict.netG."]


@pytest.mark.parametrize("prefix", ALONE)
@pytest.mark.parametrize("nested", [False, True])
def test_any_prefix_in_the_names_or_as_dictionaries(tmp_path, prefix, nested, expected):
    content = prefixed(prefix)
    if nested:
        content = STATE
        for key in reversed(prefix.removesuffix(".").split(".")):
            content = {key: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}
    generator = load_generator(save_torch(tmp_path / "x.pt", content))
    assert generator.place == prefix
    assert torch.equal(image(generator), expected)


PAIRS = [("g", "g_ema"), ("generator", "generator_ema"), ("g", "ema"), ("params", "params_ema"), ("netG", "netG_ema")]
PAIRS += [("generator", "g_running"), ("generator", "generator_smooth"), ("G", "G_avg"), ("model", "averaged_model")]


@pytest.mark.parametrize(("raw", "averaged"), PAIRS)
@pytest.mark.parametrize("first", [True, False])
def test_of_two_generators_the_averaged_one_is_taken_and_the_other_named(tmp_path, raw, averaged, first, expected):
    content = {averaged: STATE, raw: OTHER} if first else {raw: OTHER, averaged: STATE}
    path = save_torch(tmp_path / "x.pt", content)
    generator = load_generator(path)
    assert torch.equal(image(generator), expected)
    facts = describe(path)
    assert (facts["found under"], facts["other generators"]) == (averaged, raw)


def test_what_says_that_weights_are_averaged():
    assert all(map(is_averaged, ("g_ema.", "G_ema.", "state_dict.EMA.", "Gs.", "g_running.", "swa_avg.")))
    assert not any(map(is_averaged, ("", "g.", "generator.", "state_dict.module.", "netG.")))


def test_several_generators_of_one_kind_are_refused_by_name(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"holds 2 generators: 'netG_A', 'netG_B'.*save the state_dict of the one"
    ):
        load_generator(save_torch(tmp_path / "x.pt", {"netG_A": STATE, "netG_B": OTHER}))
    with pytest.raises(CheckpointError, match=r"holds 2 generators: 'a_ema', 'b_ema'"):
        load_generator(save_torch(tmp_path / "x.pt", {"g": STATE, "a_ema": STATE.copy(), "b_ema": OTHER}))


def test_one_generator_under_two_names_is_one(tmp_path, expected):
    generator = load_generator(save_torch(tmp_path / "x.pt", {"G": STATE, "generator": STATE}))
    assert torch.equal(image(generator), expected)


@pytest.mark.parametrize("rows", [None, 1, 10])
def test_a_decoder_beside_an_encoder_with_its_average(tmp_path, rows, expected):
    """pSp, e4e and ReStyle."""
    average = torch.linspace(-1, 1, STATE["style.1.weight"].shape[1])
    state = {"encoder.body.0.weight": torch.zeros(3, 3), **prefixed("decoder.")}
    content = {"state_dict": state, "opts": {"output_size": 64, "learn_in_w": False}}
    content["latent_avg"] = average if rows is None else average[None].repeat(rows, 1)
    generator = load_generator(save_torch(tmp_path / "x.pt", content))
    assert generator.place == "state_dict.decoder."
    assert torch.equal(generator.mapping.w_avg, average)
    assert torch.equal(image(generator), expected)


def test_averages_that_differ_by_layer_are_no_mean_of_w(tmp_path):
    average = torch.arange(10.0)[:, None].repeat(1, STATE["style.1.weight"].shape[1])
    generator = load_generator(save_torch(tmp_path / "x.pt", {"g_ema": STATE, "latent_avg": average}))
    plain = load_generator(save_torch(tmp_path / "y.pt", {"g_ema": STATE}))
    assert torch.equal(generator.mapping.w_avg, plain.mapping.w_avg)  # of 10,000 samples


class Stranger:
    """Of a class that exists in the program that made the file, and nowhere here."""

    def __init__(self, content):
        self.content = content


def test_objects_of_unknown_classes_beside_it_are_not_interpreted(tmp_path):
    """As in projected-GAN's snapshots, whose discriminator holds another library's network."""
    example = ZOO["stylegan2 skip"]()
    with stand_ins({"timm.models.efficientnet.EfficientNet": Stranger}):
        stranger = Stranger({(3, 4): [torch.zeros(2)], "self": None})
        stranger.content["self"] = stranger
        content = pickle.dumps({"D": stranger, "G_ema": example.tensors, "augment_pipe": stranger}, protocol=4)
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    assert load_generator(path).place == "G_ema."
    assert describe(path)["other classes"] == "timm.models.efficientnet.EfficientNet"


STRANGE = {
    "a class": new("some.module.Class", {"x": 1}),
    "with a state of no dictionary": new("some.module.Class", 5),
    "a call": call("some.module.function", 1, "x"),
    "with items": Code(call("some.module.Dict") + b"(K\x01K\x02u" + b"K\x01K\x02s"),
    "with elements": Code(call("some.module.List") + b"(K\x01K\x02e" + b"K\x01a"),
    "keywords": Code(name("some.module.Class") + code((1,)) + code({"x": 1}) + b"\x92"),
    "a call of a call": Code(call("some.module.partial") + b")R"),
    "an odd key": Code(b"}" + code((1, 2)) + b"Ns"),
    "numbers of an odd type": Code(call("numpy.dtype", "O8", False, True)),
}


@pytest.mark.parametrize("title", STRANGE)
def test_whatever_stands_beside_it(tmp_path, title):
    path = tmp_path / "x.pkl"
    torch.save(STATE, tmp_path / "state.pt")
    with ZipFile(tmp_path / "state.pt") as source, ZipFile(path, "w") as archive:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith("data.pkl"):  # {"g_ema": the state dict, "x": the strange thing}
                data = b"\x80\x02}(" + code("g_ema") + data[2:-1] + code("x") + STRANGE[title] + b"u."
            archive.writestr(info.filename, data)
    assert load_generator(path).place == "g_ema."


def test_a_file_that_names_an_attack_is_refused_whole(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/marker",)

    torch.save({"g_ema": STATE, "x": Attack()}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"asks to run (posix|nt|os)\.system\. Nothing was run"):
        load_generator(tmp_path / "x.pt")
    assert not (tmp_path / "marker").exists()


def test_training_checkpoints_keep_their_place(tmp_path):
    generator = load_generator(save_torch(tmp_path / "x.pt", rosinality(STATE, trained=True), legacy=True))
    assert generator.place == "g_ema."


def test_a_network_inside_of_another_program_s(tmp_path):
    """Its attributes come with it."""
    example = ZOO["stylegan2 skip"]()
    names = {"torch_utils.persistence._reconstruct_persistent_obj": _reconstruct_persistent_obj}
    with stand_ins({**names, "dnnlib.util.EasyDict": EasyDict}):
        inner = modules_of(example.tensors, {"synthesis.b4.conv1.conv_clamp": 0.5}, "Generator")
        path = tmp_path / "x.pkl"
        path.write_bytes(pickle.dumps({"snapshot": {"nets": [{"G": inner}]}}, protocol=4))
    generator = load_generator(path)
    assert generator.place == "snapshot.nets.0.G."
    assert "conv_clamp" not in generator.assumed


def module_of(state):
    """The tree of modules that has this state dict."""
    root = torch.nn.Module()
    for full, tensor in state.items():
        *path, last = full.split(".")
        module = root
        for part in path:
            module = module._modules.setdefault(part, torch.nn.Module())
        module._parameters[last] = torch.nn.Parameter(tensor, requires_grad=False)
    return root


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda m: m, lambda m: {"G_ema": torch.nn.DataParallel(m)}], ids=["alone", "parallel"]
)
def test_whole_modules_saved_as_objects(tmp_path, legacy, wrap, expected, monkeypatch):
    # whatever accelerator another test has registered, the module stays on the CPU
    parallel = sys.modules["torch.nn.parallel.data_parallel"]  # torch.nn.parallel has a function of this name
    monkeypatch.setattr(parallel, "_get_available_device_type", lambda: None)
    generator = load_generator(save_torch(tmp_path / "x.pt", wrap(module_of(STATE)), legacy))
    assert torch.equal(image(generator), expected)
