"""Loss terms against the reference implementation, and loss settings as text."""

from __future__ import annotations

import math

import pytest
import torch

from pulse_core.degradations.bicubic import downsample
from pulse_core.errors import SettingError
from pulse_core.latent_search.losses import LossInputs, cauchy, geocross, parse_loss

TEXTS = {
    "L2": "1*L2",
    "L1": "1*L1",
    "GEOCROSS": "1*GEOCROSS",
    "DEFAULT": "100*L2+0.05*GEOCROSS",
    "MIX": "3.5*L1+0.5*L2+2*GEOCROSS",
}


def inputs(tensors, dtype, *, grad=False):
    image, ws = tensors["gen_im"].to(dtype), tensors["latent"].to(dtype)
    if grad:
        image.requires_grad_()
        ws.requires_grad_()
    return image, ws, LossInputs(downsample(image, factor=8), tensors["ref_im"].to(dtype), ws, 2e-3)


@pytest.mark.parametrize(("dtype", "suffix", "rtol"), [(torch.float32, "", 2e-6), (torch.float64, "_f64", 1e-10)])
@pytest.mark.parametrize("name", TEXTS)
def test_values_match_the_reference(golden, name, dtype, suffix, rtol):
    tensors, loss = golden("pulse_losses"), parse_loss(TEXTS[name])
    terms = loss.terms(inputs(tensors, dtype)[2])
    for term, value in terms.items():
        torch.testing.assert_close(value.sum()[None], tensors[f"{name}.{term}{suffix}"], rtol=rtol, atol=0)
        per_sample = tensors[f"{term}_per_sample{suffix}"]
        torch.testing.assert_close(value, per_sample, rtol=rtol, atol=0)
    torch.testing.assert_close(loss.total(terms).sum()[None], tensors[f"{name}.total{suffix}"], rtol=rtol, atol=0)


@pytest.mark.parametrize("name", ["L2", "L1", "GEOCROSS"])
def test_gradients_match_the_reference(golden, name):
    tensors, loss = golden("pulse_losses"), parse_loss(TEXTS[name])
    image, ws, given = inputs(tensors, torch.float32, grad=True)
    loss.total(loss.terms(given)).sum().backward()
    for tensor, key in ((ws, "grad_latent"), (image, "grad_gen_im")):
        expected = tensors.get(f"{name}.{key}")
        if expected is None:
            assert tensor.grad is None or not tensor.grad.any()
        else:
            torch.testing.assert_close(tensor.grad, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_l2_has_no_gradient_below_eps(golden):
    tensors = golden("pulse_losses")
    image, _, given = inputs(tensors, torch.float32, grad=True)
    values = parse_loss("1*L2").terms(given)["L2"]
    assert values[1] == torch.tensor(2e-3)
    values.sum().backward()
    assert not image.grad[1].any()
    assert image.grad[0].any()


def test_geocross_of_equal_rows_and_its_gradient(golden):
    tensors = golden("pulse_losses")
    latent = tensors["latent"][:, :1].clone().requires_grad_()
    row = torch.nn.functional.leaky_relu(latent, 0.2)
    torch.testing.assert_close(row, tensors["GEOCROSS_tiled.latent_in"])
    ws = row.expand(-1, 18, -1)
    value = geocross(LossInputs(ws, ws, ws, 0.0)).sum()
    torch.testing.assert_close(value[None], tensors["GEOCROSS_tiled"], rtol=2e-6, atol=0)
    value.backward()
    expected = tensors["GEOCROSS_tiled.grad_latent"]
    torch.testing.assert_close(latent.grad, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_geocross_of_one_row_is_zero():
    ws = torch.randn(2, 1, 512, dtype=torch.float64)
    assert float(geocross(LossInputs(ws, ws, ws, 0.0)).max()) < 1e-6


def test_loss_texts_may_have_spaces_and_exponents():
    loss = parse_loss(" 1e+2*L2 + 5e-2*GEOCROSS ")
    assert [(weight, term.name) for weight, term in loss.parts] == [(100.0, "L2"), (0.05, "GEOCROSS")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100*L3", "names the term 'L3'"),
        ("L2", "has the part 'L2'"),
        ("", "has the part ''"),
        ("100*L2+", "has the part ''"),
        ("-1*L2", "has the part '-1*L2'"),
        ("1*L2+2*L2", "cannot use the part '2*L2'"),
        ("1e999*L2", "cannot use the part '1e999*L2'"),
        ("100*l2", "names the term 'l2'"),
    ],
)
def test_invalid_loss_texts_are_refused(text, found):
    with pytest.raises(SettingError) as caught:
        parse_loss(text)
    message = str(caught.value)
    assert found in message
    assert "100*L2+0.05*GEOCROSS, made of MSE, CAUCHY, L2, L1, GEOCROSS" in message


def cauchy_of(error, **others):
    """The Cauchy loss of one pixel with this error in each channel, and the size of its gradient."""
    target = torch.full((1, 3, 1, 1), 0.3)
    downscaled = (target + error).requires_grad_()
    value = cauchy(LossInputs(downscaled, target, torch.zeros(1, 1, 4), 1e-3, **others))
    (gradient,) = torch.autograd.grad(value.sum(), downscaled)
    return float(value.detach()), float(gradient.abs().mean())


def test_cauchy_is_quadratic_for_small_errors_with_a_smaller_gradient_for_large_ones():
    assert cauchy_of(0.01)[0] == pytest.approx(1e-4, rel=0.01)
    assert cauchy_of(0.1)[0] == pytest.approx(0.01 * math.log(2), rel=1e-5)  # e = c
    gradients = [cauchy_of(error)[1] for error in (0.02, 0.1, 0.5)]
    assert gradients[0] < gradients[1] > gradients[2]


def test_the_cauchy_scale_can_be_set_and_grows_with_noise():
    tight = torch.full((1, 1, 1, 1), 0.05)
    assert cauchy_of(0.3, cauchy_scale=tight)[1] < cauchy_of(0.3)[1]
    assert cauchy_of(0.3, cauchy_scale=tight, noise_variance=torch.tensor([0.09]))[1] > cauchy_of(0.3)[1]
