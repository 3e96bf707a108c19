"""Devices: steps stay on theirs and do not synchronise; names, out-of-memory errors, float32.

torch's "meta" device stands in for a GPU: its tensors have shapes but no values, and reading a value raises.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from zoo import ZOO

from pulse_core import cli
from pulse_core.degradations import forward_operator, parse_degradation
from pulse_core.devices import device as devices
from pulse_core.devices.device import best_device, exact_float32, free_memory, is_out_of_memory, named_device
from pulse_core.errors import SettingError
from pulse_core.latent_search.best import Best
from pulse_core.latent_search.config import PRESETS
from pulse_core.latent_search.run import Run
from pulse_core.latent_search.solution import Job
from pulse_core.latents.gaussian import fit_gaussian
from pulse_core.loading.load import generator_from
from pulse_core.pictures.images import save_image

MOVES = ("aten._to_copy.default", "aten.copy_.default")
JOBS = (Job(0, 1), Job(1, 2))


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, scalars excepted, as a GPU does and meta only in part."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor) and each.ndim]
        if str(func) not in MOVES and len({each.device for each in tensors}) > 1:
            raise AssertionError(f"{func} of {[(each.device.type, tuple(each.shape)) for each in tensors]}")
        return func(*args, **(kwargs or {}))


def loaded(name):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    return generator, fit_gaussian(generator, 200, class_index=1 if generator.c_dim else None)


@pytest.fixture
def no_best_iterate(monkeypatch):
    """Comparing iterates reads values, which meta tensors do not have."""
    monkeypatch.setattr(Best, "offer", lambda *_: None)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ZOO)
@pytest.mark.usefixtures("no_best_iterate")
def test_search_steps_stay_on_the_device(name, preset):
    generator, gaussian = loaded(name)
    axes = tuple(each.to("meta") for each in gaussian.axes)
    generator, gaussian = generator.to("meta"), gaussian.map_tensors(lambda tensor: tensor.to("meta"))
    gaussian.__dict__["axes"] = axes  # cached: computed once per search, in float64 on the CPU
    target = torch.empty(2, 3, generator.size[0] // 8, generator.size[1] // 8, device="meta")
    degradation = forward_operator(None, target.shape[-2:], generator.size)
    with OneDevice():
        run = Run(generator, target, gaussian, PRESETS[preset], degradation, JOBS)
        for _ in range(3):
            seen = run.evaluate(gradient=True)
            assert seen.l2.is_meta
            assert seen.image.is_meta
            run.move()
    assert all(value.is_meta for value in run.optimizer.values)


@pytest.mark.parametrize(
    "text", ["bicubic(16, 16)", "motion(5, 30)+area(16, 16)+noise(0.1)", "lanczos(16, 16)+jpeg(40)", "blur(2)+grey"]
)
def test_degradations_stay_on_the_device(text):
    degradation = parse_degradation(text)
    with OneDevice():
        assert degradation.forward(torch.empty(2, 3, 64, 64, device="meta")).is_meta


def test_mixed_devices_are_detected():
    with OneDevice(), pytest.raises(AssertionError, match="conv"):
        torch.nn.functional.conv2d(torch.empty(1, 3, 8, 8, device="meta"), torch.empty(3, 3, 3, 3))


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("XPU out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("level_zero backend failed with error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
    RuntimeError("level_zero backend failed with error: 40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError("Native API failed. Native API returns: -5 (PI_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, other allocations: 1 MB, max allowed: 9.07 GB)."),
    RuntimeError("Invalid buffer size: 24.00 GB"),
    RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried ..."),
    RuntimeError("Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:40])
def test_out_of_memory_errors_of_every_backend_are_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)


@pytest.fixture
def two_gpus(monkeypatch):
    """The machine appears to have two NVIDIA GPUs."""
    monkeypatch.setattr(devices, "count", lambda kind: 2 * (kind == "cuda"))


@pytest.fixture
def no_gpu(monkeypatch):
    """The machine appears to have no GPU."""
    monkeypatch.setattr(devices, "count", lambda kind: 0)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:7", "xpu", "mps", "npu", "meta", "cpu:1", "gpu", "cuda:x", ""])
def test_missing_devices_are_refused_by_name(name):
    with pytest.raises(SettingError, match="torch sees no other device") as caught:
        named_device(name)
    assert repr(name) in caught.value.found


@pytest.mark.usefixtures("no_gpu")
def test_the_cpu_is_always_available():
    assert (str(named_device("cpu")), str(best_device())) == ("cpu", "cpu")
    assert free_memory(torch.device("cpu")) is None


@pytest.mark.usefixtures("two_gpus")
def test_numbered_devices_are_checked_against_the_count():
    assert [str(named_device(name)) for name in ("cuda", "cuda:1", "cpu")] == ["cuda", "cuda:1", "cpu"]
    assert str(best_device()) == "cuda"
    with pytest.raises(SettingError, match="cpu, cuda:0, cuda:1") as caught:
        named_device("cuda:2")
    assert "has only 2" in caught.value.found


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("words", [["--device", "cuda"], ["--device", "gpu"], ["--devices", "cpu,cuda:1"]])
def test_upscale_refuses_missing_devices(words, tiny_file, tmp_path, capsys):
    save_image(torch.rand(3, 8, 8), tmp_path / "in" / "1.png")
    given = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--generator", str(tiny_file), *words]
    assert cli.main(given) == 2
    error = capsys.readouterr().err
    assert "accepted: cpu" in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("no_gpu")
def test_sample_and_fit_refuse_missing_devices(tiny_file, tmp_path, capsys):
    assert cli.main(["sample", "-o", str(tmp_path), "--generator", str(tiny_file), "--device", "cuda"]) == 2
    assert cli.main(["fit", str(tiny_file), "--device", "cuda"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def precisions():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
@pytest.mark.parametrize("cudnn", [True, False])
def test_exact_float32_disables_tf32_and_restores_it(matmul, cudnn, monkeypatch):
    before = precisions()
    try:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.set_float32_matmul_precision(matmul)
        given = precisions()
        with exact_float32():
            assert precisions() == (False, False, "highest")
            with pytest.raises(KeyError), exact_float32():
                raise KeyError
            assert precisions() == (False, False, "highest")
        assert precisions() == given
        with pytest.raises(KeyError), exact_float32():
            raise KeyError
        assert precisions() == given
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[2])


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="before torch 2.9")
def test_exact_float32_restores_per_operator_precisions():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    try:
        conv.fp32_precision, matmul.fp32_precision = "ieee", "tf32"  # reading the old settings raises now
        with exact_float32():
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "tf32")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before
