"""A faulty device is detected, and the optimization at fault disabled. The device is a CPU with faults in float32."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from zoo import ZOO

from pulse_core.devices import optimizations
from pulse_core.errors import SettingError
from pulse_core.generators import device_check, frozen
from pulse_core.generators.device_check import cache_file, check_device
from pulse_core.latents.sampling import sample
from pulse_core.loading.load import generator_from

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(device_check, "_results", {})
    monkeypatch.setattr(optimizations, "_disabled", {})
    monkeypatch.setattr(optimizations, "_excluded", frozenset())


def loaded(name="stylegan2 skip"):
    example = ZOO[name]()
    return generator_from(example.tensors, example.metadata, name=name)


def switched_off():
    return {name for name in device_check.SUSPECTS if not optimizations.is_enabled(name, CPU)}


def as_stored(weight):
    """A weight as a device sees it that reads memory in order and ignores the strides."""
    if weight.dtype == torch.float64:
        return weight
    stored = weight.as_strided(
        (sum((n - 1) * s for n, s in zip(weight.shape, weight.stride(), strict=True)) + 1,), (1,)
    )
    return stored[torch.arange(weight.numel()) % len(stored)].view(weight.shape)


@pytest.fixture
def blind(monkeypatch):
    """Convolutions ignore the strides of a weight, as MPS does from macOS 15 on."""
    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # its first call imports code that needs the real ops
    conv, up, backward = F.conv2d, F.conv_transpose2d, torch.ops.aten.convolution_backward
    monkeypatch.setattr(F, "conv2d", lambda x, weight, *rest, **named: conv(x, as_stored(weight), *rest, **named))
    monkeypatch.setattr(
        F, "conv_transpose2d", lambda x, weight, *rest, **named: up(x, as_stored(weight), *rest, **named)
    )
    monkeypatch.setattr(
        torch.ops.aten,
        "convolution_backward",
        lambda grad, x, weight, *rest: backward(grad, x, as_stored(weight), *rest),
    )


@pytest.fixture
def wrong_layers(monkeypatch):
    """The hand-written gradients are 1 % too large."""
    dot = frozen._dot
    monkeypatch.setattr(frozen, "_dot", lambda a, b: dot(a, b) * (1.01 if a.dtype == torch.float32 else 1))


@pytest.fixture
def broken(monkeypatch):
    """broken(error=None): convolutions are 1 % too large with any optimizations, or raise."""

    def make(error=None):
        conv = F.conv2d

        def convolve(x, *rest, **named):
            if x.dtype == torch.float32 and error is not None:
                raise error
            return conv(x, *rest, **named) * (1.01 if x.dtype == torch.float32 else 1)

        monkeypatch.setattr(F, "conv2d", convolve)

    return make


def drawn(generator):
    return torch.stack([image for image, _ in sample(generator, range(2))])


@pytest.mark.parametrize("name", ZOO)
def test_a_correct_device_keeps_all_optimizations(name, caplog):
    check_device(loaded(name), forced=True)
    assert not switched_off()
    assert not caplog.records


@pytest.mark.parametrize("name", ["mobilestylegan", "stylegan1", "stylegan2 skip", "stylegan2 resnet", "stylegan3 t"])
def test_channels_last_is_disabled_on_a_device_that_ignores_strides(name, request, caplog):
    right = drawn(loaded(name))
    request.getfixturevalue("blind")
    generator = loaded(name)
    assert (drawn(generator) - right).abs().max() > 0.05
    check_device(generator, forced=True)
    assert switched_off() == {"channels_last"}
    torch.testing.assert_close(drawn(generator), right, atol=1e-4, rtol=0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "wrong numbers with 'channels_last', which is disabled there" in record.getMessage()
    other = loaded(name)  # its weights have the old memory format
    check_device(other, forced=True)
    torch.testing.assert_close(drawn(other), right, atol=1e-4, rtol=0)
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("wrong_layers")
def test_wrong_hand_written_gradients_are_disabled():
    check_device(loaded(), forced=True)
    assert switched_off() == {"layers"}


@pytest.mark.usefixtures("wrong_layers", "blind")
def test_two_faults_are_found_together():
    check_device(loaded(), forced=True)
    assert switched_off() == {"layers", "channels_last"}


def test_a_device_that_stays_wrong_is_refused(broken):
    broken()
    with pytest.raises(SettingError, match="use the CPU") as told:
        check_device(loaded(), forced=True)
    assert "a modulated 3x3 convolution: off by" in told.value.found
    assert not cache_file().exists()


def test_an_unsupported_operation_is_reported(broken):
    broken(RuntimeError("The operator 'aten::conv' is not implemented for this device."))
    with pytest.raises(SettingError, match="convolution: The operator 'aten::conv' is not implemented"):
        check_device(loaded(), forced=True)


def test_running_out_of_memory_decides_nothing(broken):
    broken(torch.OutOfMemoryError("CUDA out of memory."))
    check_device(loaded(), forced=True)
    assert not switched_off()
    assert not cache_file().exists()


@pytest.mark.usefixtures("blind")
def test_the_cpu_is_checked_only_if_forced():
    check_device(loaded())
    assert not switched_off()


@pytest.fixture
def asked(monkeypatch):
    """One entry for each check of a device."""
    count, find = [], device_check._find_faulty
    monkeypatch.setattr(device_check, "_find_faulty", lambda *given: count.append(1) or find(*given))
    return count


@pytest.mark.usefixtures("blind")
def test_the_outcome_is_cached_for_this_process_and_the_next(asked, monkeypatch):
    check_device(loaded(), forced=True)
    check_device(loaded(), forced=True)
    assert len(asked) == 1
    monkeypatch.setattr(device_check, "_results", {})
    monkeypatch.setattr(optimizations, "_disabled", {})
    check_device(loaded(), forced=True)
    assert len(asked) == 1
    assert switched_off() == {"channels_last"}
    check_device(loaded("mobilestylegan"), forced=True)  # other layers
    generator = loaded()
    monkeypatch.setattr(torch, "__version__", "99.0")
    check_device(generator, forced=True)
    assert len(asked) == 3
    assert len(json.loads(cache_file().read_text())) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, "values"])
def test_a_damaged_cache_is_replaced(content, asked, monkeypatch):
    check_device(loaded(), forced=True)
    whole = cache_file().read_bytes()
    for damaged in (content,) if content != "values" else ("3", '["unheard of"]', '"layers"', "[[]]", "null"):
        text = json.dumps({name: json.loads(damaged) for name in json.loads(whole)}) if content == "values" else content
        cache_file().write_bytes(text.encode() if isinstance(text, str) else text)
        monkeypatch.setattr(device_check, "_results", {})
        before = len(asked)
        check_device(loaded(), forced=True)
        assert len(asked) == before + 1
        assert cache_file().read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_skipped(asked, monkeypatch, tmp_path, caplog):
    (tmp_path / "comfyui-pulse").write_text("not a folder")
    check_device(loaded(), forced=True)
    check_device(loaded(), forced=True)
    assert len(asked) == 1
    monkeypatch.setattr(device_check, "_results", {})
    check_device(loaded(), forced=True)
    assert len(asked) == 2
    assert not caplog.records


def test_mps_never_uses_channels_last():
    assert not optimizations.is_enabled("channels_last", torch.device("mps:0"))
    assert optimizations.is_enabled("layers", torch.device("mps:0"))


def test_the_memory_format_depends_on_device_and_type():
    def of(device, dtype):
        return optimizations.memory_format(SimpleNamespace(device=torch.device(device), dtype=dtype))

    assert of("mps", torch.float32) == torch.contiguous_format
    assert of("cpu", torch.float32) == torch.channels_last
    assert of("cuda", torch.float32) == torch.contiguous_format
    assert of("cuda", torch.float16) == torch.channels_last
