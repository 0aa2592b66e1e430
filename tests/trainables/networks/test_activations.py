"""Activations of analogue networks against their definitions: values, and the gradients that are their own."""

import pytest
import torch
from torch import Tensor

from trainables.networks.activations import QCFS, ClampedReLU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clamped_relu_is_torchs_clamp_to_the_bit(dtype: torch.dtype) -> None:
    """So are its gradients, on the bounds too."""
    drive = torch.cat([torch.randn(1000), torch.tensor([0.0, -0.0, 1.0])]).to(dtype).requires_grad_()
    activation, clamped, grad = ClampedReLU()(drive), drive.clamp(0, 1), torch.randn(1003).to(dtype)
    assert torch.equal(activation, clamped)
    assert torch.equal(*(torch.autograd.grad(each, drive, grad)[0] for each in (activation, clamped)))


def qcfs(levels: int, scale: float) -> QCFS:
    activation = QCFS(levels).double()
    activation.scale.data.fill_(scale)
    return activation


@pytest.mark.parametrize("levels", [1, 2, 4, 5])
@pytest.mark.parametrize("scale", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(12, 40), (3, 4, 5, 8)])
def test_qcfs_is_what_bu_et_al_define(levels: int, scale: float, shape: tuple[int, ...]) -> None:
    """a = λ·clip(⌊zL/λ + ½⌋/L, 0, 1); with zL/λ + ½ in (0, L), da/dz = 1 and da/dλ = (a - z)/λ; above da/dλ = 1."""
    activation = qcfs(levels, scale)
    torch.manual_seed(levels)
    drive, grad = 2 * scale * torch.randn(shape).double(), torch.randn(shape).double()
    drive.requires_grad_()
    result = activation(drive)
    z = drive.detach()
    expected = scale * (torch.floor(z * levels / scale + 0.5) / levels).clamp(0, 1)
    torch.testing.assert_close(result.detach(), expected)
    result.backward(grad)
    position = z * levels / scale + 0.5
    inside, above = (position > 0) & (position < levels), position >= levels
    assert drive.grad is not None
    assert activation.scale.grad is not None
    assert torch.equal(drive.grad, grad * inside)
    by_scale = torch.where(inside, (expected - z) / scale, above.double())
    torch.testing.assert_close(activation.scale.grad, (grad * by_scale).sum())


def test_every_level_of_qcfs_learns() -> None:
    """Units on the lowest and the highest level get a gradient too, so that a network with one level learns at all."""
    drive = torch.tensor([-0.2, 0.2, 0.45], dtype=torch.float64, requires_grad=True)  # of 0, 0 and, with one level, 0
    qcfs(1, 1.0)(drive).sum().backward()
    assert drive.grad is not None
    assert drive.grad.tolist() == [1, 1, 1]


def test_qcfs_in_bfloat16_is_near_to_float32() -> None:
    """Where rounding moves no drive across a step, levels are those of float32; the scale's gradient is near and in float32."""
    torch.manual_seed(0)
    drive, grad = torch.randn(16, 8, 6, 6), torch.randn(16, 8, 6, 6)
    found: list[tuple[Tensor, Tensor]] = []
    for dtype in (torch.float32, torch.bfloat16):
        activation = QCFS(4)
        result = activation(drive.to(dtype).requires_grad_())
        result.backward(grad.to(dtype))
        assert activation.scale.grad is not None
        assert (result.dtype, activation.scale.grad.dtype) == (dtype, torch.float32)
        found.append((result.detach().float(), activation.scale.grad))
    (exact, exact_grad), (rounded, rounded_grad) = found
    assert float((exact == rounded).float().mean()) > 0.98
    torch.testing.assert_close(rounded_grad, exact_grad, rtol=0.05, atol=0.5)
