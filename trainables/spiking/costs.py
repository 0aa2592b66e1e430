"""Cost metrics by NeuroBench's definitions (Yik et al. 2025): sparsity, spike rate, synaptic operations, energy.

Synaptic operations are counted from the real connectivity: the zeros of a convolution's padding are no operations, nor are
weights that are zero. An operation is an accumulate (AC) where all inputs of the layer are in {-1, 0, 1}, else a
multiply-accumulate (MAC), as in a first layer that sees an image or behind an average pool of spikes. A drive that is
constant in time is computed once, at the first step; what is called ``ops_input_each_step`` counts it at every step, as
NeuroBench does where it runs a network step by step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

ENERGY_PJ_PER_MAC = 4.6
"""One 32-bit floating-point multiply-accumulate in 45 nm (Horowitz 2014)."""
ENERGY_PJ_PER_AC = 0.9
"""One 32-bit floating-point addition in 45 nm (Horowitz 2014)."""
ENERGY_MODEL = f"{ENERGY_PJ_PER_MAC} pJ per MAC, {ENERGY_PJ_PER_AC} pJ per AC (45 nm, Horowitz 2014)"


@dataclass
class _Activity:
    """Of one layer's activations or neurons."""

    nonzero_T: list[float] = field(default_factory=list)
    neurons: int = 0
    ever_active_N: Tensor | None = None


@dataclass
class _Synapses:
    """Of one convolution or linear layer."""

    layer: str
    fan_out_N: Tensor
    dense_per_step: float
    operations_T: list[float] = field(default_factory=list)
    binary: bool = True
    constant: bool = False


class OperationCounter:
    """Observes a network while it runs, and counts its active outputs and synaptic operations.

    Call ``next_batch`` before every batch; time steps of one batch may come in several pieces.
    """

    def __init__(self) -> None:
        self._activity: dict[str, _Activity] = {}
        self._synapses: dict[nn.Module, _Synapses] = {}
        self._num_images = 0
        self._steps_seen: dict[object, int] = {}

    def next_batch(self, num_images: int) -> None:
        """Begin a batch of ``num_images`` images at its first time step."""
        self._num_images += num_images
        self._steps_seen.clear()

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        """Count the operations that a layer's inputs cause."""
        synapses = self._synapses_of(layer, module, inputs_TBN.shape[2:])
        start = self._steps_seen.get(module, 0)
        if start == 0:
            synapses.constant = inputs_TBN.shape[0] == 1
        elif synapses.constant:
            return
        self._steps_seen[module] = start + len(inputs_TBN)
        if synapses.binary:
            synapses.binary = not (inputs_TBN - inputs_TBN.sign()).any()
        _add(synapses.operations_T, start, _num_nonzero(inputs_TBN).flatten(1) @ synapses.fan_out_N)

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """Count a layer's active outputs."""
        num_nonzero_TN = _num_nonzero(outputs_TBN)
        self.add_activity(layer, num_nonzero_TN.flatten(1).sum(dim=1), num_nonzero_TN.sum(dim=0) > 0)

    def fan_out(self, layer: str, module: nn.Module, input_shape: torch.Size) -> Tensor:
        """How many weights of a layer each of its inputs meets, flattened, for code that counts operations itself."""
        return self._synapses_of(layer, module, input_shape).fan_out_N

    def add_operations(self, module: nn.Module, operations_T: Tensor, *, binary: bool = True) -> None:
        """Count operations in the time steps that follow, of a layer whose ``fan_out`` was asked for.

        ``binary``: whether they are accumulates, on inputs in {-1, 0, 1}.
        """
        synapses, start = self._synapses[module], self._steps_seen.get(module, 0)
        self._steps_seen[module] = start + len(operations_T)
        synapses.binary = synapses.binary and binary
        _add(synapses.operations_T, start, operations_T)

    def add_activity(self, layer: str, nonzero_T: Tensor, ever_active_N: Tensor) -> None:
        """Count active outputs in the time steps that follow, and which were active at any of them."""
        activity = self._activity.setdefault(layer, _Activity())
        start = self._steps_seen.get(layer, 0)
        self._steps_seen[layer] = start + len(nonzero_T)
        activity.neurons = ever_active_N.numel()
        _add(activity.nonzero_T, start, nonzero_T)
        activity.ever_active_N = ever_active_N if activity.ever_active_N is None else activity.ever_active_N | ever_active_N

    def _synapses_of(self, layer: str, module: nn.Module, input_shape: torch.Size) -> _Synapses:
        if module not in self._synapses:
            self._synapses[module] = _Synapses(layer, *_connectivity(module, input_shape))
        return self._synapses[module]

    def metrics(self) -> dict[str, float]:
        """Per image. By layer and overall: ``sparsity/…`` (zeros / elements), ``dead_neurons/…`` (fraction never active).
        Overall: ``spike_rate/overall`` (spikes per neuron per time step, 1 - sparsity), ``spikes_per_neuron/overall`` (that,
        times T). By layer: ``effective_acs/…``, ``effective_macs/…``. In all: ``ops/effective_acs``, ``ops/effective_macs``,
        ``ops/dense_operations``, ``ops/energy_pj``; ``ops/operations_per_dense_mac``, ACs and MACs over the MACs of one dense
        pass, and ``ops/ac_mac_ratio``, the ACs alone over these, as Sengupta et al. count networks that have no MACs. The same
        operations and energy as ``ops_input_each_step/…``, with a drive that is constant in time counted at every step.
        """
        metrics: dict[str, float] = {}
        nonzero = neurons = never_active = 0.0
        for layer, activity in self._activity.items():
            assert activity.ever_active_N is not None
            active, dead = sum(activity.nonzero_T), float((~activity.ever_active_N).sum())
            metrics |= self._activity_metrics(layer, active, activity.neurons, dead)
            nonzero, neurons, never_active = nonzero + active, neurons + activity.neurons, never_active + dead
        if self._activity:
            metrics |= self._activity_metrics("overall", nonzero, neurons, never_active)
            spikes_per_neuron = self._per_image(nonzero) / neurons
            metrics["spike_rate/overall"] = spikes_per_neuron / self._time_steps()
            metrics["spikes_per_neuron/overall"] = spikes_per_neuron
        acs = macs = dense = dense_per_step = 0.0
        for layer in dict.fromkeys(synapses.layer for synapses in self._synapses.values()):
            of_layer = [synapses for synapses in self._synapses.values() if synapses.layer == layer]
            layer_acs = self._per_image(sum(sum(s.operations_T) for s in of_layer if s.binary))
            layer_macs = self._per_image(sum(sum(s.operations_T) for s in of_layer if not s.binary))
            metrics |= {f"effective_acs/{layer}": layer_acs, f"effective_macs/{layer}": layer_macs}
            acs, macs = acs + layer_acs, macs + layer_macs
            dense += sum(s.dense_per_step * len(s.operations_T) for s in of_layer)
            dense_per_step += sum(s.dense_per_step for s in of_layer)
        if self._synapses:
            metrics |= {
                "ops/effective_acs": acs,
                "ops/effective_macs": macs,
                "ops/dense_operations": dense,
                "ops/ac_mac_ratio": acs / dense_per_step,
                "ops/operations_per_dense_mac": (acs + macs) / dense_per_step,
                "ops/energy_pj": _energy_pj(acs, macs),
            }
            metrics |= {f"ops_input_each_step/{name}": value for name, value in self._with_input_at_each_step().items()}
        return metrics

    def curves(self) -> dict[str, list[float]]:
        """Up to every time step, per image: ``spikes_per_neuron_at_t``, ``sparsity_at_t``, ``effective_acs_at_t``,
        ``effective_macs_at_t``, ``ac_mac_ratio_at_t``, ``operations_per_dense_mac_at_t``, ``energy_pj_at_t``.
        """
        time_steps = self._time_steps()
        neurons = sum(activity.neurons for activity in self._activity.values())
        spikes_T = _cumulative([activity.nonzero_T for activity in self._activity.values()], time_steps)
        per_neuron_T = [self._per_image(spikes) / neurons for spikes in spikes_T]
        acs_T = self._operations_at_t(time_steps, binary=True)
        macs_T = self._operations_at_t(time_steps, binary=False)
        dense_per_step = sum(synapses.dense_per_step for synapses in self._synapses.values())
        return {
            "spikes_per_neuron_at_t": per_neuron_T,
            "sparsity_at_t": [1 - spikes / t for t, spikes in enumerate(per_neuron_T, start=1)],
            "effective_acs_at_t": acs_T,
            "effective_macs_at_t": macs_T,
            "ac_mac_ratio_at_t": [acs / dense_per_step for acs in acs_T],
            "operations_per_dense_mac_at_t": [(acs + macs) / dense_per_step for acs, macs in zip(acs_T, macs_T, strict=True)],
            "energy_pj_at_t": [_energy_pj(acs, macs) for acs, macs in zip(acs_T, macs_T, strict=True)],
        }

    def _with_input_at_each_step(self) -> dict[str, float]:
        """Operations and energy if no drive were kept from one step to the next."""
        time_steps = max(len(synapses.operations_T) for synapses in self._synapses.values())
        counts = [(s, time_steps if len(s.operations_T) == 1 else 1) for s in self._synapses.values()]
        acs, macs = (
            self._per_image(sum(number * sum(s.operations_T) for s, number in counts if s.binary == binary))
            for binary in (True, False)
        )
        dense = sum(number * len(s.operations_T) * s.dense_per_step for s, number in counts)
        return {"effective_acs": acs, "effective_macs": macs, "dense_operations": dense, "energy_pj": _energy_pj(acs, macs)}

    def _operations_at_t(self, time_steps: int, *, binary: bool) -> list[float]:
        operations = [synapses.operations_T for synapses in self._synapses.values() if synapses.binary == binary]
        return [self._per_image(count) for count in _cumulative(operations, time_steps)]

    def _activity_metrics(self, layer: str, nonzero: float, neurons: float, never_active: float) -> dict[str, float]:
        return {
            f"sparsity/{layer}": 1.0 - self._per_image(nonzero) / neurons / self._time_steps(),
            f"dead_neurons/{layer}": never_active / neurons,
        }

    def _per_image(self, count: float) -> float:
        return count / self._num_images

    def _time_steps(self) -> int:
        return max(len(activity.nonzero_T) for activity in self._activity.values())


def _energy_pj(acs: float, macs: float) -> float:
    return acs * ENERGY_PJ_PER_AC + macs * ENERGY_PJ_PER_MAC


def footprint_bytes(network: nn.Module) -> int:
    """Bytes of all parameters and buffers, as NeuroBench's footprint."""
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def dense_operations(module: nn.Module, input_shape: Sequence[int]) -> int:
    """How many weights a dense pass over one image multiplies with inputs; those that meet padding are not among them.

    Args:
        module: A convolution or linear layer; its weights are not looked at, as they may have to be computed first.
        input_shape: Of its input for one image: ``[C, H, W]``, or ``[N]``.
    """
    assert isinstance(module, nn.Conv2d | nn.Linear)
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    with torch.device("cpu"):
        image, kernel = (torch.ones(1, 1, *sides, dtype=torch.float64) for sides in (input_shape[1:], module.kernel_size))
    meetings = functional.conv2d(image, kernel, None, module.stride, module.padding, module.dilation).sum()
    return int(meetings) * module.out_channels * (module.in_channels // module.groups)


def _connectivity(module: nn.Module, input_shape: torch.Size) -> tuple[Tensor, float]:
    """Per input, how many weights that are not zero it meets, flattened; and how many operations a dense pass has."""
    assert isinstance(module, nn.Conv2d | nn.Linear)
    dense = float(dense_operations(module, input_shape))
    nonzero = (module.weight.detach() != 0).double()
    if isinstance(module, nn.Linear):
        return nonzero.sum(dim=0).flatten(), dense
    image = torch.zeros(1, *input_shape, dtype=torch.float64, device=nonzero.device, requires_grad=True)
    with torch.enable_grad():
        output = functional.conv2d(image, nonzero, None, module.stride, module.padding, module.dilation, module.groups)
        (fan_out,) = torch.autograd.grad(output.sum(), image)
    return fan_out.flatten(), dense


def _num_nonzero(values_TBN: Tensor) -> Tensor:
    """Over the batch: ``[T, …]``, exact. In floating point, which is ten times as fast as comparing and counting booleans."""
    if values_TBN.dim() == 5 and values_TBN.stride(2) == 1:  # channels last: a sum in the order of memory takes a third
        return values_TBN.permute(0, 1, 3, 4, 2).sign().abs().sum(dim=1).permute(0, 3, 1, 2).double()
    return values_TBN.sign().abs().sum(dim=1).double()


def _add(counts_T: list[float], start: int, more_T: Tensor) -> None:
    for t, count in enumerate(more_T.tolist(), start=start):
        if t < len(counts_T):
            counts_T[t] += count
        else:
            counts_T.append(count)


def _cumulative(counts: list[list[float]], time_steps: int) -> list[float]:
    """Sums over the lists up to every time step; a list that ends early adds nothing afterwards."""
    at_t = [sum(series[t] for series in counts if t < len(series)) for t in range(time_steps)]
    return torch.tensor(at_t, dtype=torch.float64).cumsum(dim=0).tolist() if at_t else []
