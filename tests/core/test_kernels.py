"""The fused kernels: their CUDA source, emulated on the CPU (emulated.py), against plain torch; and their selection."""

from __future__ import annotations

import logging
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from emulated import COMPILER, emulated
from torch import Tensor
from zoo import ZOO

from pulse_core.devices import optimizations
from pulse_core.generators import kernels, styles
from pulse_core.generators.frozen import Convolution, FrozenLayer
from pulse_core.generators.kernels import launch
from pulse_core.generators.kernels.operands import Epilogue
from pulse_core.generators.mobilestylegan import inverse_haar
from pulse_core.loading.load import generator_from

FLOAT, HALF, BFLOAT = torch.float32, torch.float16, torch.bfloat16
ERROR = {FLOAT: 1e-6, HALF: 1e-3, BFLOAT: 8e-3}  # relative, of the root mean square
LAST, PLAIN = torch.channels_last, torch.contiguous_format
SIZES = [(8, 4, 4), (3, 5, 7), (32, 6, 4), (16, 9, 8), (20, 3, 50)]  # 16-byte pieces along channels, pixels, or neither
LIMIT = 1.5

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no g++")
if COMPILER is None:
    pytestmark = needs_compiler


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    return lambda dtype, processors=2: emulated(dtype, folder, processors)


@pytest.fixture
def plugged_in(made, monkeypatch):
    """Layers on the CPU use the kernels. Returns the names of those that were launched."""
    known = {dtype: made(dtype) for dtype in ERROR}

    def kernels_for(x: Tensor) -> kernels.Kernels | None:
        fits = x.dtype in known and kernels._is_supported(x) and optimizations.is_enabled("kernels")
        return known[x.dtype] if fits else None

    monkeypatch.setattr(kernels, "kernels_for", kernels_for)
    return known[FLOAT].launched


def drawn(*shape, dtype=FLOAT, layout=PLAIN, seed=0) -> Tensor:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return tensor.contiguous(memory_format=layout) if len(shape) == 4 else tensor


def same(ours: Tensor | None, theirs: Tensor, dtype: torch.dtype, times: float = 1) -> None:
    assert ours is not None
    assert ours.shape == theirs.shape
    off = (ours.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-30)
    assert off <= times * ERROR[dtype], float(off)


def formula(x: Tensor, what: Epilogue) -> Tensor:
    x = x if what.factor is None else x * what.factor.double()
    x = x if what.noise is None else x + what.noise.double() * what.strength.double()
    x = x if what.bias is None else x + what.bias.double()[:, None, None]
    x = F.leaky_relu(x, what.slope)
    return x if what.limit is None else x.clamp(-what.limit, what.limit)


def epilogues(images: int, size: tuple[int, int, int], dtype: torch.dtype):
    """Each combination of parts once, other choices in turn."""
    channels, height, width = size
    for index, parts in enumerate(product((False, True), repeat=5)):
        factor, noise, bias, leaky, limited = parts
        small = FLOAT if index % 3 else dtype
        maps, strengths = images if index % 2 else 1, (1, channels, 1, 1) if index % 4 < 2 else ()
        yield Epilogue(
            drawn(images, channels, 1, 1, dtype=small, seed=1).abs() + 0.5 if factor else None,
            drawn(maps, 1, height, width, dtype=small, seed=2) if noise else None,
            drawn(*strengths, dtype=small, seed=3) if noise else None,
            drawn(channels, dtype=small, seed=4) if bias else None,
            0.2 if leaky else 1.0,
            LIMIT if limited else None,
        )


@pytest.mark.parametrize("dtype", ERROR, ids=str)
@pytest.mark.parametrize("layout", [LAST, PLAIN], ids=["last", "plain"])
@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_an_epilogue_and_its_gradients_follow_the_formula(size, layout, dtype, made):
    own, images = made(dtype), 2
    for what in epilogues(images, size, dtype):
        x = drawn(images, *size, dtype=dtype, layout=layout)
        leaves = {"x": x.double().requires_grad_()}
        for name in ("factor", "noise"):
            if (given := getattr(what, name)) is not None:
                leaves[name] = given.double().requires_grad_()
        y = formula(leaves["x"], what._replace(**{name: leaves[name] for name in leaves if name != "x"}))
        same(own.epilogue(x, what), y.detach(), dtype)
        # no gradient where rounding decides whether the clamp applies
        grad = drawn(images, *size, dtype=dtype, seed=5).where((y.abs() - LIMIT).abs() > 0.02, 0)
        grad = grad.contiguous(memory_format=layout)
        theirs = dict(zip(leaves, torch.autograd.grad((y * grad.double()).sum(), leaves.values()), strict=True))
        result = y.detach().to(dtype).contiguous(memory_format=layout)
        grad_x, grad_factor = own.epilogue_back(grad, result, what, needs_factor="factor" in leaves, in_place=False)
        same(grad_x, theirs["x"], dtype)
        if "factor" in leaves:
            same(grad_factor, theirs["factor"], dtype, 3)
        if "noise" in leaves:
            same(own.noise_back(grad_x, what), theirs["noise"], dtype, 3)


@pytest.mark.parametrize("dtype", ERROR, ids=str)
@pytest.mark.parametrize("layout", [LAST, PLAIN], ids=["last", "plain"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("small", [FLOAT, None], ids=["styles in float32", "styles alike"])
def test_gradients_of_a_style_and_of_a_haar_transform(size, layout, dtype, small, made):
    own, images = made(dtype), 2
    x, grad = (drawn(images, *size, dtype=dtype, layout=layout, seed=seed) for seed in (0, 1))
    style = drawn(images, size[0], 1, 1, dtype=small or dtype, seed=2)
    grad_x, grad_style = own.style_back(grad, x, style, needs_x=True, in_place=False)
    same(grad_x, grad.double() * style.double(), dtype)
    same(grad_style, (grad.double() * x.double()).sum((2, 3), keepdim=True), dtype)
    assert grad_style.dtype == style.dtype
    if size[0] % 4:
        return
    leaves = [each.double().requires_grad_() for each in (x, style)]
    image = inverse_haar(*leaves)  # float64, index is left to plain torch
    same(own.haar(x, style), image.detach(), dtype)
    same(own.haar(x, None), inverse_haar(x.double()), dtype)
    for other in (LAST, PLAIN):
        grad = drawn(*image.shape, dtype=dtype, layout=other, seed=3)
        theirs = torch.autograd.grad((image * grad.double()).sum(), leaves, retain_graph=True)
        ours = own.haar_back(grad, x, style)
        same(ours[0], theirs[0], dtype)
        same(ours[1], theirs[1], dtype)
        same(own.haar_back(grad, torch.empty_like(x), None)[0] * style, theirs[0], dtype, 2)


def test_sums_over_many_pixels_are_split_into_slabs(made, monkeypatch):
    monkeypatch.setattr(kernels, "_ONE_BLOCK_PIXELS", 16)
    monkeypatch.setattr(kernels, "_MIN_UNITS", 1)
    for dtype, layout in product(ERROR, (LAST, PLAIN)):
        own, size = made(dtype, 16), (1, 8, 64, 72)
        x, grad = (drawn(*size, dtype=dtype, layout=layout, seed=seed) for seed in (0, 1))
        what = Epilogue(drawn(1, 8, 1, 1, seed=2).abs() + 0.5, None, None, drawn(8, seed=3))
        _, grad_style = own.style_back(grad, x, what.factor, needs_x=False, in_place=False)
        same(grad_style, (grad.double() * x.double()).sum((2, 3), keepdim=True), dtype)
        y = formula(x.double(), what).to(dtype)
        _, grad_factor = own.epilogue_back(grad, y, what, needs_factor=True, in_place=False)
        same(grad_factor, (grad.double() * x.double()).sum((2, 3), keepdim=True), dtype, 5)
        _, grad_bands = own.haar_back(own.haar(grad, None), x, what.factor)
        same(grad_bands, 4 * (grad.double() * x.double()).sum((2, 3), keepdim=True), dtype, 3)
        assert own.launched.count("finish") == 3


@pytest.mark.parametrize("dtype", ERROR, ids=str)
@pytest.mark.parametrize("side", [3, 4])
@pytest.mark.parametrize("size", [(8, 6, 7), (3, 9, 5), (36, 20, 3), (4, 5, 70)], ids=str)
@pytest.mark.parametrize("few", [0, 2048], ids=["slabs", "one slab"])
def test_a_depthwise_convolution_and_its_gradients_match_torch(few, size, side, dtype, made, monkeypatch):
    monkeypatch.setattr(kernels, "_ONE_BLOCK_PIXELS", few)
    monkeypatch.setattr(kernels, "_MIN_UNITS", 1)
    own, images, channels, padding = made(dtype, 16), 2, size[0], (1, side - 2)
    x = drawn(images, *size, dtype=dtype, layout=LAST)
    weight = drawn(channels, 1, side, side, dtype=dtype if few else FLOAT, seed=1)
    style = drawn(images, channels, 1, 1, seed=2)
    leaves = [each.double().requires_grad_() for each in (x, style)]
    filtered = F.conv2d(leaves[0] * leaves[1], weight.double(), padding=padding, groups=channels)
    same(own.depthwise(x, weight, padding, Epilogue(style))[0], filtered.detach(), dtype)
    what = Epilogue(style, drawn(images, 1, *filtered.shape[2:], seed=3), drawn(), drawn(channels, seed=4), 0.2, LIMIT)
    expected = formula(filtered.detach(), what._replace(factor=None))
    same(own.depthwise(x, weight, padding, what)[0], expected, dtype)
    grad = drawn(*filtered.shape, dtype=dtype, layout=LAST, seed=5)
    theirs = torch.autograd.grad((filtered * grad.double()).sum(), leaves)
    around = (side - 1 - padding[0], side - 1 - padding[1])
    grad_x, grad_style = own.depthwise(grad, weight, around, Epilogue(style), flipped=True, conv_input=x)
    same(grad_x, theirs[0], dtype)
    same(grad_style, theirs[1], dtype, 3)
    if few:
        assert "finish" not in own.launched


def test_in_place_writes_to_the_given_memory(made):
    own = made(FLOAT)
    x, style = drawn(1, 8, 4, 4, layout=LAST), drawn(1, 8, 1, 1, seed=1)
    expected = x * style
    grad = x.clone()
    grad_x, _ = own.style_back(grad, drawn(1, 8, 4, 4, layout=LAST), style, needs_x=True, in_place=True)
    assert grad_x.data_ptr() == grad.data_ptr()
    torch.testing.assert_close(grad, expected)
    assert own.epilogue(x, Epilogue(style), in_place=True).data_ptr() == x.data_ptr()
    torch.testing.assert_close(x, expected)


CHAINS = {
    "3x3": (Convolution(drawn(8, 4, 3, 3), (1, 1)),),
    "up and blur": (
        Convolution(drawn(4, 8, 3, 3), up=True),
        Convolution(drawn(1, 1, 4, 4).repeat(8, 1, 1, 1), (1, 1), True),
    ),
    "separable": (Convolution(drawn(4, 1, 3, 3), (1, 1), depthwise=True), Convolution(drawn(8, 4, 1, 1))),
    "none": (),
}


MAPS = ((8, 0, 8), (4, 1, 4), (8, 1, 2), (3, 4, 3), (8, 3, 8))  # rows, the latent, how many styles


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("side", [2, 16])  # more weights than features, and fewer
@pytest.mark.parametrize("layout", [LAST, PLAIN], ids=["last", "plain"])
@pytest.mark.parametrize("parts", ["all", "no style", "bare"])
def test_a_layer_with_kernels_matches_plain_torch(chain, images, side, layout, parts, plugged_in):
    convolutions, channels = CHAINS[chain], 8 if CHAINS[chain] else 4
    bare = parts == "bare"
    bias, strength = (None, None) if bare else (drawn(channels, seed=1), drawn(1, channels, 1, 1, seed=2))
    layer = FrozenLayer(convolutions, bias, strength, 1.0 if bare else 0.2, None if bare else 9.0, overwrites=not bare)
    x = drawn(images, 4, side, side, layout=layout, seed=3)
    height = layer(x).shape[2]
    noise = None if bare else drawn(images, 1, height, height, seed=4)
    style = drawn(images, 4, 1, 1, seed=5) if parts == "all" else None
    demod = None if bare or chain == "none" or chain == "separable" else drawn(images, channels, 1, 1, seed=6).abs()
    leaves = [each.requires_grad_() for each in (x, noise, style, demod) if each is not None]
    found = []
    for without in ((), ("kernels",), ("layers",)):
        with optimizations.disabled(*without):
            y = layer(x, noise, style, demod)
            found.append((y, *torch.autograd.grad((y * drawn(*y.shape, seed=7)).sum(), leaves)))
    for ours, plain, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert plugged_in or bare


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", ["mobilestylegan", "stylegan1", "stylegan2 skip", "stylegan2 resnet"])
def test_a_generator_with_kernels_matches_plain_torch(name, images, plugged_in):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name)
    ws = drawn(images, generator.num_ws, generator.w_dim).requires_grad_()
    noise = [drawn(images, 1, *shape, seed=1).requires_grad_() for shape in generator.noise_shapes]
    for side in (8, generator.img_resolution):
        found = []
        for without in ((), ("kernels",)):
            with optimizations.disabled(*without):
                image = generator.synthesis.render_low_resolution(ws, noise, side)
                weight = drawn(*image.shape, seed=2)
                gradients = torch.autograd.grad((image * weight).sum(), [ws, *noise], allow_unused=True)
                found.append([image, *(each for each in gradients if each is not None)])
        for ours, theirs in zip(*found, strict=True):
            same(ours, theirs, FLOAT, 20)
    assert {each.split("_")[0] for each in plugged_in} >= {"epilogue", "noise"}


@pytest.mark.parametrize("images", [1, 3])
def test_batched_styles_match_those_of_each_layer(images, monkeypatch):
    maps = [styles.AffineMap(drawn(c, 6, seed=c), drawn(c), index, count) for c, index, count in MAPS]
    ws = drawn(images, 5, 6, seed=9).requires_grad_()
    found = []
    for together in (False, True, True):
        monkeypatch.setattr(styles, "_use_batched", lambda _, together=together: together)
        results = styles.styles(maps, ws)
        weights = [drawn(*each.shape, seed=7) for each in results[:-1]]  # nothing follows from the last
        objective = sum((each * weight).sum() for each, weight in zip(results, weights, strict=False))
        found.append((*results, *torch.autograd.grad(objective, ws)))
    for each in found[1:]:
        torch.testing.assert_close(each, found[0])
        assert all(style.is_contiguous() for style in each[:-1])


@pytest.mark.parametrize("dtype", [HALF, BFLOAT], ids=str)
def test_16_bit_features_keep_their_type_and_are_close(dtype, plugged_in):
    example = ZOO["mobilestylegan"]()
    synthesis = generator_from(example.tensors, example.metadata, name="tiny").synthesis
    ws = drawn(2, synthesis.num_ws, synthesis.w_dim, seed=1).requires_grad_()
    noise = [drawn(1, 1, *shape, seed=2).requires_grad_() for shape in synthesis.noise_shapes]
    small, found = synthesis.with_feature_dtype(dtype), []
    for network, without in ((synthesis, ()), (small, ()), (small, ("kernels",))):
        with optimizations.disabled(*without):
            image = network.render_low_resolution(ws, noise, 32)
            weight = drawn(*image.shape, seed=3).to(image.dtype)
            found.append((image, *torch.autograd.grad((image * weight).sum(), [ws, *noise])))
    assert found[1][0].dtype == dtype
    off = [
        sum(
            float((near - exact).detach().norm() / exact.detach().norm())
            for near, exact in zip(each, found[0], strict=True)
        )
        for each in found[1:]
    ]
    assert off[0] <= 2 * off[1]


def test_the_gradient_that_another_summand_gets_is_left_alone(plugged_in):
    x, style, other = drawn(1, 4, 8, 8).requires_grad_(), drawn(1, 4, 1, 1, seed=1), drawn(1, 4, 8, 8).requires_grad_()
    weight = drawn(1, 4, 8, 8, seed=3)
    y = FrozenLayer((), drawn(4), slope=0.2)(x, style=style)
    _, grad_other = torch.autograd.grad(((y + other) * weight).sum(), (x, other))
    torch.testing.assert_close(grad_other, weight)
    assert plugged_in


def test_plain_torch_does_what_the_kernels_do_not_know():
    for x in (drawn(1, 8, 4, 4), drawn(1, 8, 4, 4).double(), drawn(1, 8, 4, 4, layout=LAST).half()):
        assert kernels.kernels_for(x) is None  # on the CPU
    assert not kernels._is_supported(drawn(2, 8, 4, 4)[:, :4])
    assert not kernels._is_supported(drawn(1, 8, 4, 4).expand(2, -1, -1, -1))
    assert not kernels._is_supported(drawn(0, 8, 4, 4))


@pytest.mark.parametrize("error", [OSError("no NVRTC"), RuntimeError("it does not compile"), AttributeError("old")])
def test_without_a_compiler_it_is_said_once_and_plain_torch_works(error, monkeypatch, caplog):
    def fails(*_):
        raise error

    class OnCuda:
        device, dtype = torch.device("cuda:0"), FLOAT

    monkeypatch.setattr(kernels, "Program", fails)
    monkeypatch.setattr(kernels, "_cache", {})
    monkeypatch.setattr(kernels, "_is_supported", lambda _: True)
    with caplog.at_level(logging.WARNING):
        assert [kernels.kernels_for(OnCuda()) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert str(error) in caplog.text
    with optimizations.disabled("kernels"):
        assert kernels.kernels_for(OnCuda()) is None


def test_compiled_code_is_kept_and_only_for_the_same_source_and_options(tmp_path, monkeypatch):
    compiled = []

    class NVRTC:
        nvrtcVersion = staticmethod(lambda *_: 0)

    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", str(tmp_path / "kept"))
    monkeypatch.setattr(launch, "_nvrtc", NVRTC)
    monkeypatch.setattr(launch, "_compile", lambda _, source, options: compiled.append(options) or b"code")
    for options in (["-DTYPE=0"], ["-DTYPE=0"], ["-DTYPE=1"]):
        assert launch._load_or_compile("epilogue_last_wide", options) == b"code"
    assert [each[-1] for each in compiled] == ["-DBODY=epilogue<true,WIDE>"] * 2
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", "/proc/nowhere")
    assert launch._load_or_compile("finish", []) == b"code"  # a folder that cannot be written costs time alone
