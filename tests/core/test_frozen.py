"""Layers with gradients written out, against the formula in plain torch."""

import pytest
import torch
import torch.nn.functional as F
from pairwise import pairwise
from torch import Tensor
from zoo import ZOO

from pulse_core.devices import optimizations
from pulse_core.generators.frozen import Convolution, FrozenLayer
from pulse_core.generators.stylegan1 import _BatchedAdaIN as BatchedAdaIN
from pulse_core.generators.stylegan1 import adain
from pulse_core.loading.load import generator_from

DOUBLE = torch.float64


def drawn(*shape, seed=0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


CHAINS = {
    "3x3": (Convolution(drawn(6, 4, 3, 3), (1, 1)),),
    "1x1": (Convolution(drawn(6, 4, 1, 1)),),
    "up and blur": (Convolution(drawn(4, 6, 3, 3), up=True), Convolution(drawn(6, 1, 4, 4), (1, 1), depthwise=True)),
    "nearest and blur": (
        Convolution(drawn(4, 6, 4, 4), (1, 1), up=True),
        Convolution(drawn(6, 1, 3, 3), (1, 1), depthwise=True),
    ),
    "separable": (Convolution(drawn(4, 1, 3, 3), (1, 1), depthwise=True), Convolution(drawn(6, 4, 1, 1))),
    "unequal sides": (Convolution(drawn(4, 1, 2, 4), (0, 1), depthwise=True), Convolution(drawn(6, 4, 3, 3), (1, 1))),
    "none": (),
}


def plain(layer: FrozenLayer, x: Tensor, noise: Tensor | None, style: Tensor | None, demod: Tensor | None) -> Tensor:
    x = x if style is None else x * style
    for each in layer.convolutions:
        if each.up:
            x = F.conv_transpose2d(x, each.weight, stride=2, padding=each.padding)
        else:
            x = F.conv2d(x, each.weight, padding=each.padding, groups=len(each.weight) if each.depthwise else 1)
    x = x if demod is None else x * demod
    x = x if noise is None or layer.strength is None else x + noise * layer.strength
    x = x if layer.bias is None else x + layer.bias[:, None, None]
    x = F.leaky_relu(x, layer.slope)
    return x if layer.limit is None else x.clamp(-layer.limit, layer.limit)


PARTS = ["all", "no style", "no noise", "one number", "limited", "linear", "bare"]
WAYS = [  # images, side, what is left out: together, as they choose the way of the computation
    (images, side, without)
    for images in (1, 3)
    for side in (2, 16)  # more weights than features, and fewer
    for without in ("", "layers,channels_last")
]


@pytest.mark.parametrize(("chain", "parts", "way"), pairwise({"chain": CHAINS, "parts": PARTS, "way": WAYS}))
def test_a_layer_and_its_gradients_follow_the_formula(chain, parts, way, monkeypatch):
    images, side, without = way
    monkeypatch.setattr(optimizations, "_excluded", frozenset(without.split(",")))
    convolutions = CHAINS[chain]
    channels = 6 if convolutions else 4
    strength = {"one number": torch.tensor(0.7, dtype=DOUBLE), "bare": None}.get(
        parts, drawn(1, channels, 1, 1, seed=1)
    )
    layer = FrozenLayer(
        convolutions,
        None if parts == "bare" else drawn(channels, seed=2),
        strength,
        1.0 if parts == "linear" else 0.2,
        4.0 if parts == "limited" else None,
        overwrites=parts in ("all", "linear"),
    )
    x = drawn(images, 4, side, side, seed=3)
    shape = plain(layer, x, None, None, None).shape
    noise = None if parts == "no noise" else drawn(1 if parts == "one number" else images, 1, *shape[-2:], seed=4)
    style = None if parts in ("no style", "bare") else drawn(images, 4, 1, 1, seed=5)
    demod = (
        None
        if parts == "bare" or chain in ("separable", "unequal sides", "none")
        else drawn(images, channels, 1, 1).abs()
    )
    given = [x, noise, style, demod]
    leaves = [each.requires_grad_() for each in given if each is not None]
    mine, formula = layer(*given), plain(layer, *given)
    torch.testing.assert_close(mine, formula)
    weight = drawn(*shape, seed=6)
    ours = torch.autograd.grad((mine * weight).sum(), leaves, allow_unused=True)
    theirs = torch.autograd.grad((formula * weight).sum(), leaves, allow_unused=True)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_pooled_layer_acts_on_averages_as_the_layer_on_constant_features(chain):
    layer = FrozenLayer(CHAINS[chain], drawn(6 if CHAINS[chain] else 4), drawn(1, 6, 1, 1))
    colour, style = drawn(1, 4, 1, 1), drawn(1, 4, 1, 1, seed=1)
    inner = layer(colour.expand(-1, -1, 16, 16), style=style)[..., 8:10, 8:10].mean((2, 3), keepdim=True)
    torch.testing.assert_close(layer.pooled()(colour, drawn(1, 1, 1, 1), style), inner)


def test_an_image_of_a_batch_is_what_it_is_alone():
    layer = FrozenLayer(CHAINS["3x3"], None, None, 0.2)
    x, style = drawn(3, 4, 16, 16), drawn(3, 4, 1, 1, seed=1)
    together = layer(x, style=style)
    for row in range(3):
        torch.testing.assert_close(together[row : row + 1], layer(x[row : row + 1], style=style[row : row + 1]))


def test_inputs_and_upstream_gradients_are_not_modified():
    layer = FrozenLayer(CHAINS["3x3"], None, None, 0.2)
    x, style = drawn(1, 4, 8, 8).requires_grad_(), drawn(1, 4, 1, 1, seed=1).requires_grad_()
    before, upstream = x.detach().clone(), drawn(1, 6, 8, 8, seed=2)
    kept = upstream.clone()
    layer(x, style=style).backward(upstream)
    assert torch.equal(x, before)
    assert torch.equal(upstream, kept)


@pytest.mark.parametrize("slope", [0.2, 1.0])
def test_the_gradient_of_another_summand_is_not_overwritten(slope):
    x, other, style = (
        drawn(1, 4, *size, seed=seed).requires_grad_() for seed, size in enumerate([(8, 8)] * 2 + [(1, 1)])
    )
    weight = drawn(1, 4, 8, 8, seed=3)
    _, grad_other = torch.autograd.grad(
        ((FrozenLayer((), slope=slope)(x, style=style) + other) * weight).sum(), (x, other)
    )
    torch.testing.assert_close(grad_other, weight)


@pytest.mark.parametrize("name", ZOO)
def test_a_generator_has_the_gradients_of_plain_torch(name, monkeypatch):
    example = ZOO[name]()
    generator = generator_from(example.tensors, example.metadata, name=name).double()
    ws = drawn(2, generator.num_ws, generator.w_dim).requires_grad_()
    noise = [drawn(2, 1, *shape).requires_grad_() for shape in generator.noise_shapes]
    found = []
    for without in ("", "layers"):
        monkeypatch.setattr(optimizations, "_excluded", frozenset(without.split(",")))
        image = generator.synthesis(ws, noise=noise)
        found.append(torch.autograd.grad((image * drawn(*image.shape, seed=1)).sum(), [ws, *noise], allow_unused=True))
    torch.testing.assert_close(*found)


def test_the_features_between_two_layers_are_saved_once():
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        layer = FrozenLayer((Convolution(drawn(4, 4, 3, 3), (1, 1)),), drawn(4), None, 0.2)
        style = drawn(1, 4, 1, 1).requires_grad_()
        x = drawn(1, 4, 32, 32)
        for _ in range(3):
            x = layer(x, style=style)
    assert len(set(kept)) == 1 + 1 + 3  # the style, the input, and the result of each layer


def test_weights_that_require_a_gradient_are_refused():
    weight = drawn(6, 4, 3, 3).requires_grad_()
    with pytest.raises(TypeError, match="frozen"):
        FrozenLayer((Convolution(weight, (1, 1)),), None)(drawn(1, 4, 8, 8))


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_instance_norm_with_a_style_is_its_formula(images, at_once, layout):
    x = drawn(images, 3, 8, 6).add(0.3).contiguous(memory_format=layout)
    leaves = [each.requires_grad_() for each in (x, drawn(images, 3, seed=1), drawn(images, 3, seed=2))]
    _, scale, shift = leaves
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    formula = (x - mean) * (variance + 1e-5).rsqrt() * scale[..., None, None] + shift[..., None, None]
    if at_once:
        mine = BatchedAdaIN.apply(x, scale[..., None, None], shift[..., None, None], 1e-5)
    else:
        mine = adain(x, scale, shift, 1e-5)
    torch.testing.assert_close(mine, formula)
    assert mine.stride() == x.stride()
    weight = drawn(images, 3, 8, 6, seed=3)
    ours, theirs = (torch.autograd.grad((image * weight).sum(), leaves) for image in (mine, formula))
    torch.testing.assert_close(ours, theirs)


def test_images_of_a_batch_are_independent_in_adain():
    x, scale, shift = drawn(3, 4, 8, 8), drawn(3, 4, 1, 1, seed=1), drawn(3, 4, 1, 1, seed=2)
    other = torch.cat([x[:1], drawn(2, 4, 8, 8, seed=4) * 9])
    ours, theirs = (BatchedAdaIN.apply(each, scale, shift, 1e-5)[:1] for each in (x, other))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("count", [1, 2])
def test_a_pooled_layer_of_depthwise_convolutions_keeps_their_factors(count):
    random = torch.Generator().manual_seed(0)
    convolutions = [
        Convolution(torch.randn(4, 1, 3, 3, generator=random), padding=(1, 1), depthwise=True) for _ in range(count)
    ]
    x = torch.randn(1, 4, 2, 2, generator=random)
    expected = x
    for each in convolutions:
        expected = expected * each.weight.sum((1, 2, 3))[:, None, None]
    torch.testing.assert_close(FrozenLayer(convolutions).pooled()(x), expected)
