"""The equivalents of convolutions that are slow in cuDNN give the same results, and are used on CUDA only."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pulse_core.generators import cudnn, frozen
from pulse_core.generators.frozen import Convolution


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("side", "padding"), [(4, 1), (3, 0), (4, 0), (3, 1), (2, 0), (6, 2)])
@pytest.mark.parametrize("size", [(5, 8), (4, 4)])
def test_a_transposed_convolution_is_a_subpixel_convolution(side, padding, size):
    x, weight, bias = drawn(2, 3, *size), drawn(3, 4, side, side, seed=1), drawn(4, seed=2)
    expected = F.conv_transpose2d(x, weight, bias, 2, padding)
    torch.testing.assert_close(cudnn.subpixel_conv_transpose2d(x, weight, bias, (padding, padding)), expected)


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_the_gradient_of_a_convolution_is_one_with_flipped_weights(padding, monkeypatch):
    each = Convolution(drawn(4, 3, 3, 3), padding=(padding, padding))
    x = drawn(2, 3, 7, 9, seed=1).requires_grad_()
    y = each(x)
    grad = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, grad)
    monkeypatch.setattr(frozen, "is_slow_in_cudnn", lambda x, side: True)
    torch.testing.assert_close(each.adjoint(grad, (7, 9)), expected)


def test_a_cpu_does_not_use_them():
    assert not cudnn.is_slow_in_cudnn(torch.zeros(1, 1, 512, 512), cudnn.SLOW_GRAD_SIDE)
