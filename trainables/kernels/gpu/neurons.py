"""bddi neurons with their max pool as one fused pass over drives: clamp, integrate, fire, reset, OR, pack.

What ``neurons`` defines, on drives of any floating-point type with membrane potentials in float32. The backward pass needs bits
alone: where the clamp let through, and which of a pool's inputs won. Spikes are those of ``SpikingNeuron`` and its pool to the
bit, and so are gradients but for rounding.

Triton compiles the kernels for a GPU when they are first used; with TRITON_INTERPRET=1 in the environment of the process they
run on the CPU, slowly, for tests.
"""

import importlib.util
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from trainables.spiking.neurons import SpikingNeuron

FusedPool = Literal["none", "one", "split"]
"""The 2x2 max pool behind the neurons: none, or whose gradient goes to one of its largest inputs or is split among them."""

POOL_CODES = {"none": 0, "one": 1, "split": 2}
TILE = 1024
"""Positions times channels of a program: four warps have eight channels a thread, a load of 16 bytes and a byte of bits."""
SHARE_UNIT = 12
"""Counts of gradients that are shared are in twelfths."""


def why_no_triton(device: torch.device) -> str | None:
    """Why the kernels cannot run on a device, going on from "the triton backend …"; None if they can."""
    if importlib.util.find_spec("triton") is None:
        return "needs Triton, which is not installed"
    if device.type != "cuda" and not interpreted():
        return f"is for CUDA devices, and the network is on {device.type}"
    return None


def interpreted() -> bool:
    """Whether this process runs the kernels on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not_these(neuron: SpikingNeuron) -> str | None:
    """Why the kernels do not take these neurons; None if they do."""
    model = neuron.model
    if model.integrate != "clamped" or model.reset != "soft":
        return "takes clamped neurons with soft reset alone"
    if neuron.trainable or neuron.leaks:
        return "takes no leak and no learnt threshold"
    if isinstance(model.initial_membrane_potential, str):
        return "takes one initial membrane potential for all neurons alone"
    if model.gradient_margin:
        return "takes no gradient margin"
    if neuron.firing_threshold.numel() != 1:
        return "takes one firing threshold for all neurons of a layer"
    return "takes no surrogate gradient" if model.surrogate else None


@dataclass(frozen=True)
class Bits:
    """What the exact backward pass needs of a layer: a bit for every neuron and step.

    Attributes:
        spikes: Of what the layer gives, ``[T, P, C / 8]``: the inputs of the next one.
        passing: Where the clamp lets through and the pool has its winner, ``[T, E, P, C / 8]``.
        winners: All winners of a pool that splits its gradient.
        shape: Of the layer's spikes, ``[T, B, …]``.
        drive_shape: Of what drove them.
    """

    spikes: Tensor
    passing: Tensor
    winners: Tensor | None
    shape: torch.Size
    drive_shape: torch.Size


@dataclass(frozen=True)
class Counts:
    """Spikes, and where gradients pass, summed over the time steps of K groups, for the rate-collapsed backward pass.

    Attributes:
        spikes: ``[K, P, C]``.
        passing: ``[K, E, P, C]``, times ``unit``.
        unit: What a step counts in ``passing``.
        shares: What one spike is of its group's mean, 1 / its number of steps: ``[K]`` float32.
        shape: The shape of the mean spikes, ``[K, B, …]``.
        drive_shape: The shape of the mean drives.
    """

    spikes: Tensor
    passing: Tensor
    unit: int
    shares: Tensor
    shape: torch.Size
    drive_shape: torch.Size

    def group(self, number: int) -> "Counts":
        """One of them, in the same memory."""
        part = slice(number, number + 1)
        shapes = [torch.Size((1, *shape[1:])) for shape in (self.shape, self.drive_shape)]
        return Counts(self.spikes[part], self.passing[part], self.unit, self.shares[part], *shapes)


@dataclass(frozen=True)
class _Geometry:
    """Positions, channels, and elements (neurons) of a position."""

    num_images: int
    channels: int
    height: int
    width: int
    pooled: bool

    @property
    def elements(self) -> int:
        return 4 if self.pooled else 1

    @property
    def map(self) -> tuple[int, int]:
        return (self.height // 2, self.width // 2) if self.pooled else (self.height, self.width)

    @property
    def positions(self) -> int:
        return self.num_images * math.prod(self.map)

    @property
    def bytes(self) -> int:
        return (self.channels + 7) // 8

    def spikes_shape(self, drive_shape: torch.Size, time_steps: int) -> torch.Size:
        spatial = self.map if len(drive_shape) == 5 else ()
        return torch.Size((time_steps, self.num_images, self.channels, *spatial))

    def blocks(self) -> dict[str, int]:
        channels = min(128, max(8, 1 << (self.channels - 1).bit_length()))
        return {"BLOCK_P": TILE // channels, "BLOCK_C": channels, "enable_fp_fusion": False}

    def grid(self) -> tuple[int, int, int]:
        blocks = self.blocks()
        return (-(-self.positions // blocks["BLOCK_P"]), -(-self.channels // blocks["BLOCK_C"]), 1)


def _geometry(shape: torch.Size, pool: FusedPool) -> _Geometry:
    height, width = shape[3:] if len(shape) == 5 else (1, 1)
    return _Geometry(shape[1], shape[2], height, width, pool != "none")


def bits_for(drive_TBN: Tensor, pool: FusedPool, time_steps: int) -> Bits:
    """Room that ``fire`` writes to, for drives that are shaped like this one; on the meta device shapes alone."""
    geometry = _geometry(drive_TBN.shape, pool)
    spikes = drive_TBN.new_empty(time_steps, geometry.positions, geometry.bytes, dtype=torch.uint8)
    passing = drive_TBN.new_empty(time_steps, geometry.elements, *spikes.shape[1:], dtype=torch.uint8)
    winners = torch.empty_like(passing) if pool == "split" else None
    return Bits(spikes, passing, winners, geometry.spikes_shape(drive_TBN.shape, time_steps), drive_TBN.shape)


def shares_of(sizes: Sequence[int], device: torch.device) -> Tensor:
    """1 / size of every group, ``[K]`` float32; filled in place, as a copy would wait for the GPU."""
    return torch.cat([torch.full((1,), 1 / size, device=device) for size in sizes])


def counts_for(drive_TBN: Tensor, pool: FusedPool, sizes: Sequence[int], shares: Tensor) -> Counts:
    """Zeros to which ``fire`` adds, for groups of time steps of these sizes, whose drives are shaped like this one's."""
    geometry = _geometry(drive_TBN.shape, pool)
    unit = SHARE_UNIT if pool == "split" else 1
    most = max(sizes) * unit
    dtype = torch.uint8 if most < 2**8 else torch.int16 if most < 2**15 else torch.int32
    spikes = drive_TBN.new_zeros(len(sizes), geometry.positions, geometry.channels, dtype=dtype)
    passing = drive_TBN.new_zeros(len(sizes), geometry.elements, *spikes.shape[1:], dtype=dtype)
    drive_shape = torch.Size((len(sizes), *drive_TBN.shape[1:]))
    return Counts(spikes, passing, unit, shares, geometry.spikes_shape(drive_shape, len(sizes)), drive_shape)


def fire(
    drive_TBN: Tensor,
    neuron: SpikingNeuron,
    time_steps: int,
    *,
    bias_C: Tensor | None = None,
    pool: FusedPool = "none",
    membrane_potential: Tensor | None = None,
    keep: Literal["nothing", "bits"] | Counts = "nothing",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Bits | None]:
    """Spikes ``[T, B, …]`` (pooled if asked), the membrane potential, and bits if asked.

    Args:
        drive_TBN: ``[T, B, C, H, W]`` or ``[T, B, C]``, or with 1 in front if it is constant in time.
        neuron: Its equations; see ``why_not_these``.
        time_steps: T.
        bias_C: Added to every drive.
        pool: The max pool behind the neurons.
        membrane_potential: What an earlier call returned, ``[E, P, C]``, whose steps these follow; it is written over.
        keep: What the backward pass will need; the counts of one group are added to.
        dtype: Of the spikes; the drive's unless given.
    """
    kernels = _kernels()
    geometry = _geometry(drive_TBN.shape, pool)
    drive = _channels_last(drive_TBN)
    out_shape = geometry.spikes_shape(drive_TBN.shape, time_steps)
    spikes = drive.new_empty(time_steps, geometry.positions, geometry.channels, dtype=dtype or drive.dtype)
    v = membrane_potential
    if v is None:
        v = drive.new_empty(geometry.elements, *spikes.shape[1:], dtype=torch.float32)
    bits = bits_for(drive_TBN, pool, time_steps) if keep == "bits" else None
    kept = keep if isinstance(keep, Counts) else None
    per_step = drive.numel() // drive_TBN.shape[0]
    buffers: list[Any] = [bits.spikes, bits.passing, bits.winners] if bits else [None, None, None]
    sums: list[Any] = [kept.spikes, kept.passing] if kept else [None, None]
    steps = [time_steps, geometry.positions, geometry.channels]
    strides = [per_step if drive_TBN.shape[0] > 1 else 0, neuron.model.initial_membrane_potential]
    options = {
        "HAS_BIAS": bias_C is not None,
        "FIRST": membrane_potential is None,
        "KEEP": 1 if bits else 2 if kept else 0,
        **geometry.blocks(),
    }
    given = [drive, bias_C, neuron.firing_threshold, v, spikes]
    with _on(drive):
        if pool == "none":
            kernels.fire[geometry.grid()](*given, *buffers[:2], *sums, *steps, *strides, **options)
        else:
            sides = [geometry.height, geometry.width]
            options["POOL"] = POOL_CODES[pool]
            kernels.fire_and_pool[geometry.grid()](*given, *buffers, *sums, *steps, *sides, *strides, **options)
    return _as_maps(spikes, out_shape), v, bits


def pass_gradient(grad_TBN: Tensor, kept: Bits | Counts, pool: FusedPool, dtype: torch.dtype) -> Tensor:
    """The gradient at the drive, of its shape, from that at the spikes; of counts those at their means."""
    geometry = _geometry(kept.drive_shape, pool)
    grad = _channels_last(grad_TBN)
    height, width = geometry.map
    whole = not geometry.pooled or (height * 2, width * 2) == (geometry.height, geometry.width)
    new = grad.new_empty if whole else grad.new_zeros  # no window holds an odd last row
    grad_drive = _as_maps(new(math.prod(kept.drive_shape), dtype=dtype), kept.drive_shape)
    collapsed = isinstance(kept, Counts)
    with _on(grad):
        _kernels().pass_gradient[(*geometry.grid()[:2], geometry.elements)](
            grad,
            kept.passing,
            None if isinstance(kept, Counts) else kept.winners,
            grad_drive,
            len(grad_TBN),
            geometry.positions,
            geometry.channels,
            geometry.height,
            geometry.width,
            grad_drive.numel() // kept.drive_shape[0],
            kept.shares if isinstance(kept, Counts) else None,
            1 / kept.unit if isinstance(kept, Counts) else 1.0,
            E=geometry.elements,
            KEPT=2 if collapsed else 1,
            CONSTANT=kept.drive_shape[0] == 1,
            **geometry.blocks(),
        )
    return grad_drive


def spikes_of(kept: Bits | Counts, dtype: torch.dtype) -> Tensor:
    """The spikes of every step from bits, or their mean over every group from counts: ``[T, B, …]``."""
    if isinstance(kept, Counts):
        return _as_maps((kept.spikes * kept.shares[:, None, None]).to(dtype), kept.shape)
    channels = kept.shape[2]
    positions = kept.spikes.shape[0] * kept.spikes.shape[1]
    values = torch.empty(positions, channels, dtype=dtype, device=kept.spikes.device)
    geometry = _Geometry(positions, channels, 1, 1, pooled=False)
    with _on(values):
        _kernels().unpack[geometry.grid()](kept.spikes, values, positions, channels, **geometry.blocks())
    return _as_maps(values, kept.shape)


def _kernels() -> ModuleType:
    from trainables.kernels.gpu import triton_kernels  # Triton is not everywhere

    return triton_kernels


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device, whatever the tensors'."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _channels_last(values_TBN: Tensor) -> Tensor:
    """The same values with the channels last in memory: no copy where they already are."""
    return (values_TBN.movedim(2, -1) if values_TBN.dim() == 5 else values_TBN).contiguous()


def _as_maps(values: Tensor, shape: torch.Size) -> Tensor:
    """Values with their channels last in memory as ``[T, B, C, H, W]`` or ``[T, B, C]``."""
    return values.view(*shape[:2], *shape[3:], shape[2]).movedim(-1, 2)
