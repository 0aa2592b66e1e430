"""Where neurons start and what passes their gradient, against a plain loop in double precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.networks.activations import QCFS
from trainables.spiking.neurons import LARGEST_FRACTION, InitialMembranePotential, NeuronModel, SpikingNeuron
from trainables.spiking.surrogates import Surrogate

STARTS: tuple[InitialMembranePotential, ...] = (0.0, 0.25, 0.5, "dithered", "learnt")
T, B, C, H, W = 7, 2, 3, 5, 4
LEARNT = (0.125, 0.5, 0.8125)
KINDS: dict[str, tuple[float, dict[str, Any]]] = {
    "bddi": (1.0, {}),
    "raw, soft": (0.75, {"integrate": "raw"}),
    "raw, hard": (0.75, {"integrate": "raw", "reset": "hard"}),
    "with a surrogate": (1.0, {"surrogate": Surrogate("arctan")}),
}


def neurons_of(start: InitialMembranePotential, firing_threshold: float = 1.0, **options: Any) -> SpikingNeuron:
    model = NeuronModel(initial_membrane_potential=start, **options)
    neurons = SpikingNeuron(model, firing_threshold, pooled=True, channels=(C, 1, 1)).double()
    if neurons.learnt_start is not None:
        neurons.learnt_start.data.copy_(torch.tensor(LEARNT, dtype=torch.float64).view(C, 1, 1))
    return neurons


def drives(seed: int = 0) -> Tensor:
    """In 64ths, so that sums are exact; some below 0 and some above 1."""
    values = torch.randint(-40, 120, (T, B, C, H, W), generator=torch.Generator().manual_seed(seed))
    return values.double() / 64


def first_potential(start: InitialMembranePotential, c: int, y: int, x: int) -> float:
    if start == "dithered":
        return {(0, 0): 0.125, (0, 1): 0.625, (1, 0): 0.875, (1, 1): 0.375}[y % 2, x % 2]
    return LEARNT[c] if start == "learnt" else float(start)


def loop(neurons: SpikingNeuron, start: InitialMembranePotential, drive_TBCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The equations, neuron by neuron and step by step, in Python's numbers: spikes and the potentials after every step."""
    model, theta = neurons.model, float(neurons.firing_threshold)
    spikes, potentials = torch.zeros_like(drive_TBCHW), torch.zeros_like(drive_TBCHW)
    for b, c, y, x in torch.cartesian_prod(*map(torch.arange, (B, C, H, W))).tolist():
        v = first_potential(start, c, y, x) * theta
        for t in range(T):
            d = float(drive_TBCHW[t, b, c, y, x])
            u = v + (min(max(d, 0.0), 1.0) if model.integrate == "clamped" else d)
            fires = u >= theta
            v = (u - theta if model.reset == "soft" else 0.0) if fires else u
            spikes[t, b, c, y, x], potentials[t, b, c, y, x] = fires, v
    return spikes, potentials


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("firing_threshold", "options"), KINDS.values(), ids=KINDS)
def test_spikes_and_potentials_equal_the_loop(
    start: InitialMembranePotential, firing_threshold: float, options: dict[str, Any]
) -> None:
    """Spikes, the last potential, and the trace of all potentials are those of the loop, in one piece or two."""
    neurons, drive_TBCHW = neurons_of(start, firing_threshold, **options), drives()
    expected, potentials = loop(neurons, start, drive_TBCHW)
    spikes, last = neurons(drive_TBCHW, T)
    assert torch.equal(spikes, expected)
    assert torch.equal(last, potentials[-1])
    traced, trace = neurons.trace(drive_TBCHW, T)
    assert torch.equal(traced, expected)
    assert torch.equal(trace, potentials)
    again, trace = neurons.trace(drive_TBCHW[3:], T - 3, potentials[2])
    assert torch.equal(again, expected[3:])
    assert torch.equal(trace, potentials[3:])


def test_spikes_and_what_is_left_add_up() -> None:
    """Of bddi neurons, spikes so far and the potential left are v_0 and the clamped drive so far, wherever v_0 comes from."""
    for start in STARTS:
        neurons, drive_TBCHW = neurons_of(start), drives(1)
        spikes, potentials = neurons.trace(drive_TBCHW, T)
        assert torch.equal(spikes.cumsum(0) + potentials, neurons.start((C, H, W)) + drive_TBCHW.clamp(0, 1).cumsum(0))


def test_a_layer_without_a_pool_starts_at_one_half() -> None:
    """Dithered potentials are those of maps that a pool reads; other neurons, of a map or not, start at θ/2."""
    model = NeuronModel(initial_membrane_potential="dithered")
    assert SpikingNeuron(model, 2.0).start((3, 4, 4)).item() == 1.0
    assert SpikingNeuron(model, 2.0).start((10,)).item() == 1.0
    assert SpikingNeuron(model, 2.0, pooled=True).start((3, 2, 3)).tolist() == [[0.25, 1.25, 0.25], [1.75, 0.75, 1.75]]


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize(("firing_threshold", "integrate"), [(1.0, "clamped"), (0.75, "raw")])
def test_the_gradient_of_a_learnt_start(steps: int, firing_threshold: float, integrate: Any) -> None:
    """dL/dv_0 is the sum of dL/dS_1 over images and pixels, for drives in and out of the mask, constant or not."""
    neurons = neurons_of("learnt", firing_threshold, integrate=integrate)
    weights = torch.randn(T, B, C, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spikes, _ = neurons(drives()[:steps], T)
    assert neurons.learnt_start is not None
    (grad,) = torch.autograd.grad((spikes * weights).sum(), neurons.learnt_start)
    torch.testing.assert_close(grad.flatten(), weights[0].sum(dim=(0, 2, 3)))


def test_a_learnt_start_with_a_surrogate_has_autograd_s_gradient() -> None:
    """Back-propagation through time reaches v_0 through the first step's potential and all that follow from it."""
    surrogate = Surrogate("arctan")
    neurons, drive_TBCHW = neurons_of("learnt", surrogate=surrogate), drives()
    spikes, _ = neurons(drive_TBCHW, T)
    assert neurons.learnt_start is not None
    (grad,) = torch.autograd.grad(spikes.sum(), neurons.learnt_start)
    expected = torch.zeros(C, dtype=torch.float64)
    v = torch.tensor(LEARNT, dtype=torch.float64).view(C, 1, 1).expand(B, C, H, W)
    dv = torch.ones_like(v)  # dv_t / dv_0
    for p in drive_TBCHW.clamp(0, 1):
        u = v + p
        ds = surrogate(u - 1, torch.zeros(())) * dv
        expected += ds.sum(dim=(0, 2, 3))
        v, dv = u - (u >= 1).double(), dv - ds
    torch.testing.assert_close(grad.flatten(), expected)


def test_a_learnt_start_stays_below_the_threshold() -> None:
    """After a step that led out of [0, 1) it is brought back."""
    neurons = SpikingNeuron(NeuronModel(initial_membrane_potential="learnt"), channels=(3,))
    assert neurons.learnt_start is not None
    assert neurons.learnt_start.tolist() == [0.5, 0.5, 0.5]
    neurons.learnt_start.data.copy_(torch.tensor([-0.1, 1.2, 0.3]))
    neurons.project()
    assert neurons.learnt_start.tolist() == [0.0, LARGEST_FRACTION, pytest.approx(0.3)]
    assert float(neurons.start((3,))[1].detach()) < 1


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
def test_the_mask_has_a_margin(margin: float) -> None:
    """A clamped drive passes the gradient in (-δ, 1 + δ), a raw one where its mean is in (-δθ, (1 + δ)θ); bounds do not pass."""
    drive_TN = torch.tensor([[-0.5, -0.25, -0.125, 0.0, 0.5, 1.0, 1.125, 1.25, 1.5]], dtype=torch.float64).requires_grad_()
    clamped = SpikingNeuron(NeuronModel(gradient_margin=margin))
    (grad,) = torch.autograd.grad(clamped(drive_TN, 1)[0].sum(), drive_TN)
    assert grad[0].tolist() == [float(-margin < d < 1 + margin) for d in drive_TN[0].tolist()]
    raw = SpikingNeuron(NeuronModel(integrate="raw", gradient_margin=margin), 2.0)
    spread_TN = torch.cat([2 * drive_TN - 1, 2 * drive_TN + 1]).detach().requires_grad_()  # whose mean is 2 d
    (grad,) = torch.autograd.grad(raw(spread_TN, 2)[0].sum(), spread_TN)
    assert grad.tolist() == [[0.5 * (-margin < d < 1 + margin) for d in drive_TN[0].tolist()]] * 2


@pytest.mark.parametrize("levels", [1, 2, 3, 4, 8])
def test_one_half_makes_qcfs(levels: int) -> None:
    """With v_0 = 1/2 and a constant drive, the rate after T steps is QCFS with L = T levels, to the bit on dyadic drives."""
    drive_1N = torch.arange(-64, 129).double()[None] / 64
    qcfs = QCFS(levels).double()
    qcfs.scale.data.fill_(1.0)
    neurons = SpikingNeuron(NeuronModel(initial_membrane_potential=0.5))
    assert torch.equal(neurons(drive_1N, levels)[0].sum(dim=0) / levels, qcfs(drive_1N)[0].detach())
