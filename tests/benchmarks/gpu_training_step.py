"""One training step of BITnet6 on a GPU, beside the author-style loop and SpikingJelly with its Triton backend.

    python -m tests.benchmarks.gpu_training_step [--short] [--json] [--formula] [--time-steps 4 16 50 200] [--batch-size 128]

Every side has the same weights, sees the same images once per time step, and runs forward, loss and backward; its throughput is
images times steps a second (median), its memory the peak of PyTorch's allocator. A side that runs out of memory says so.

- ``loop``: the author's equations, step by step, with autograd through all of them;
- ``spikingjelly``: its multi-step IFNode (soft reset) behind a clamp, time folded, Triton backend;
- ``spikingjelly_memopt``: the same after its ``optimize_memory`` (checkpoints with compressed spikes, unwrapped greedily);
- ``exact``, ``collapsed``: ours, the straight-through gradient and the rate-collapsed one with dyadic groups.

The peers run under bfloat16 autocast with channels last, as ours computes. ``convolutions`` is the share of the matrix units'
peak, measured with a product of 8192x8192 matrices in bfloat16, that our convolutions reach, forward and backward, at the shapes
of a piece; ``step`` is what all of a step reaches. Theoretical floor: 6 operations a synapse, image and time step, at that peak.

Goal (docs of the issue): at T=50 twice the fastest peer, and 0.4 of the peak in the convolutions. ``--formula`` prints the memory
that ours is predicted to take and needs no GPU. Not run yet: no machine with a GPU was at hand.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any

os.environ.setdefault("SJ_IF_CUDA_IMPLEMENTATION", "triton")  # SpikingJelly reads it when it is imported

import torch
from torch import Tensor, nn

from trainables import bitnet
from trainables.kernels.gpu.chain import (
    FOLDED_IMAGES,
    FusedLayer,
    apply_synapses,
    fused_layers,
    low_precision,
    piece_of,
    synapse_gradients,
)
from trainables.kernels.gpu.memory import fused_memory
from trainables.kernels.gpu.triton_backend import TritonTrainer
from trainables.networks.collapsed import TimeGroups
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network
from trainables.networks.readout import Readout
from trainables.networks.shapes import operation_shapes
from trainables.spiking.surrogates import spike
from trainables.training.losses import mse_of_rates

IMAGE_SHAPE, NUM_CLASSES = (32, 32, 3), 10
OPERATIONS_PER_MAC = 6
"""A multiplication and an addition, forward and twice backward."""
MEBIBYTE = 2**20
OURS = ("exact", "collapsed")
Forward = Callable[[Tensor, int], Tensor]
"""Images ``[B, C, H, W]`` and T to outputs ``[T, B, classes]``."""
Train = Callable[[Tensor, Tensor, int], object]
"""Images, labels ``[B]`` and T: forward, loss and backward."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says; ``--short`` is a small net at few steps, to see that everything runs."""
    parser = argparse.ArgumentParser(description="One training step on a GPU.")
    parser.add_argument("--json", action="store_true", help="JSON alone.")
    parser.add_argument("--short", action="store_true", help="feature scale 0.5, B=16, T=4: seconds.")
    parser.add_argument("--formula", action="store_true", help="The memory by formula; needs no GPU.")
    parser.add_argument("--time-steps", type=int, nargs="+", default=[4, 16, 50, 200])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--feature-scale", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(words)
    if options.short:
        options.time_steps, options.batch_size, options.feature_scale, options.repeats = [4], 16, 0.5, 3
    return options


def main() -> None:
    """Measure, and say what came out."""
    options = arguments()
    if options.formula:
        print(json.dumps(formula(options)))
        return
    if not torch.cuda.is_available():
        raise SystemExit("gpu_training_step needs a CUDA GPU and PyTorch sees none: nothing was measured (--formula needs none)")
    result = measure(options, show=(lambda _: None) if options.json else print)
    print(json.dumps(result))


def formula(options: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Peak MiB of our sides by T, without cuDNN's workspaces."""
    with torch.device("meta"):
        network = build(options.feature_scale)
    shapes = operation_shapes(network, IMAGE_SHAPE)
    groups: dict[str, TimeGroups | None] = {"exact": None, "collapsed": "dyadic", "collapsed_one_group": 1}
    return {
        side: {
            f"T={t}": fused_memory(network, shapes, batch_size=options.batch_size, time_steps=t, groups=of).total // MEBIBYTE
            for t in (1, *options.time_steps)
        }
        for side, of in groups.items()
    }


def build(feature_scale: float) -> Network:
    """BITnet6, or a narrower one."""
    config = bitnet.Config(**{**bitnet.PRESETS["BITnet6"], "feature_scale": feature_scale})
    return bitnet.build(config, IMAGE_SHAPE, NUM_CLASSES)


def macs_per_image_step(network: Network) -> int:
    """Multiply-accumulates of all layers but the first, whose input never changes."""
    shapes = operation_shapes(network, IMAGE_SHAPE)
    return sum(_macs(layer, shapes[layer.drive]) for layer in fused_layers(network)[1:])


def _macs(layer: FusedLayer, drive_shape: torch.Size) -> int:
    return layer.synapses.weight[0].numel() * math.prod(drive_shape)


def measure(options: argparse.Namespace, show: Callable[[str], object]) -> dict[str, Any]:
    """Every side at every T, on the current GPU."""
    network = build(options.feature_scale).cuda()
    initialise_spiking(network, torch.Generator().manual_seed(0))
    peak = matrix_peak()
    share = convolution_share(network, options.batch_size, max(options.time_steps), peak)
    result: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(),
        "versions": versions(),
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "feature_scale": options.feature_scale,
        "batch_size": options.batch_size,
        "matrix_peak_tflops": round(peak / 1e12, 1),
        "convolutions": round(share, 3),
    }
    show(f"{result['machine']}: matrix peak {peak / 1e12:.0f} TFLOP/s in bfloat16, convolutions reach {share:.0%} of it")
    work = OPERATIONS_PER_MAC * macs_per_image_step(network)
    for time_steps in options.time_steps:
        rows = {}
        for name, train in sides(network, options.batch_size):
            rows[name] = row = timed(network, train, options.batch_size, time_steps, options.repeats)
            if "images_steps_per_s" in row:
                row["step"] = round(row["images_steps_per_s"] * work / peak, 3)
            show(f"T={time_steps:<4} {name:<20} {row}")
        result[f"T={time_steps}"] = rows | {f"{ours}_vs_fastest_peer": vs_fastest_peer(rows, ours) for ours in OURS}
    return result


def versions() -> dict[str, str]:
    """Of what is measured."""
    return {name: str(metadata.version(name)) for name in ("torch", "triton", "spikingjelly")}


def vs_fastest_peer(rows: dict[str, dict[str, Any]], ours: str) -> float | None:
    """Our throughput over theirs; None where one of both ran out of memory."""
    speeds = {name: row["images_steps_per_s"] for name, row in rows.items() if "images_steps_per_s" in row}
    peers = [speed for name, speed in speeds.items() if name not in OURS]
    return round(speeds[ours] / max(peers), 2) if peers and ours in speeds else None


def sides(network: Network, batch_size: int) -> Iterator[tuple[str, Train]]:
    """Names and training steps, all of the same parameters."""
    layers = fused_layers(network)
    yield "exact", lambda images, labels, t: train_ours(network, images, labels, t, None)
    yield "collapsed", lambda images, labels, t: train_ours(network, images, labels, t, "dyadic")
    yield "loop", trained(in_bfloat16(lambda images, t: loop(layers, images, t)))
    model = spikingjelly_model(layers).cuda()
    yield "spikingjelly", trained(in_bfloat16(lambda images, t: run_spikingjelly(model, images, t)))
    optimised: list[nn.Sequential] = []

    def run_optimised(images: Tensor, t: int) -> Tensor:
        if not optimised:  # here, where running out of memory is an answer
            optimised.append(optimise(model, random_images(batch_size), t))
        return run_spikingjelly(optimised[0], images, t)

    yield "spikingjelly_memopt", trained(in_bfloat16(run_optimised))


def train_ours(network: Network, images_BCHW: Tensor, labels_B: Tensor, time_steps: int, groups: TimeGroups | None) -> Tensor:
    """The outputs of a training step of the Triton backend."""
    trainer, readout = TritonTrainer(network, time_steps, groups), Readout(network)
    _, drive_TBK = trainer.gradients(
        images_BCHW,
        lambda some_TBK: readout.outputs(some_TBK, time_steps, groups),
        lambda outputs_TBK, which: mse_of_rates(outputs_TBK, labels_B[which]),
    )
    return readout.outputs(drive_TBK, time_steps)


def trained(forward: Forward) -> Train:
    """With loss and backward pass."""

    def train(images_BCHW: Tensor, labels_B: Tensor, time_steps: int) -> None:
        mse_of_rates(forward(images_BCHW, time_steps), labels_B).backward()  # type: ignore[no-untyped-call]

    return train


def in_bfloat16(forward: Forward) -> Forward:
    """Under autocast, with the channels of images last."""

    def run(images: Tensor, time_steps: int) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return forward(images.contiguous(memory_format=torch.channels_last), time_steps).float()

    return run


def loop(layers: Sequence[FusedLayer], images_BCHW: Tensor, time_steps: int) -> Tensor:
    """The author's way: one step after the other, every equation in autograd's graph, s in float32."""
    state: list[Tensor | float] = [0.0] * len(layers)
    outputs = []
    for _ in range(time_steps):
        x = images_BCHW
        for number, layer in enumerate(layers):
            for module in layer.before:
                x = module(x)
            u = state[number] + layer.synapses(x).clamp(0, 1).float()
            spikes = spike(u - 1, torch.ones_like(u))
            state[number] = u - spikes
            x = nn.functional.max_pool2d(spikes, 2) if layer.pool != "none" else spikes
        outputs.append(x)
    return torch.stack(outputs)


class Block(nn.Sequential):
    """A layer of the peer's network, which its memory optimiser may checkpoint."""


def spikingjelly_model(layers: Sequence[FusedLayer]) -> nn.Sequential:
    """The same network of its parts: a block a layer, whose first synapses see the image once."""
    from spikingjelly.activation_based import layer as parts
    from spikingjelly.activation_based.neuron import IFNode

    blocks = []
    for layer in layers:
        pool = [parts.SeqToANNContainer(nn.MaxPool2d(2))] if layer.pool != "none" else []
        synapses = parts.SeqToANNContainer(*layer.before, layer.synapses, nn.Hardtanh(0, 1))
        blocks.append(Block(synapses, IFNode(v_threshold=1.0, v_reset=None, step_mode="m"), *pool))
    return nn.Sequential(*blocks)


def run_spikingjelly(model: nn.Sequential, images_BCHW: Tensor, time_steps: int) -> Tensor:
    """Its outputs; its state is reset first."""
    from spikingjelly.activation_based import functional

    functional.reset_net(model)
    outputs: Tensor = model(images_BCHW.expand(time_steps, *images_BCHW.shape))
    return outputs


def optimise(model: nn.Sequential, images_BCHW: Tensor, time_steps: int, level: int = 4) -> nn.Sequential:
    """After SpikingJelly's memory optimiser; its highest level needs a GPU."""
    from spikingjelly.activation_based.memopt import optimize_memory

    forward = in_bfloat16(lambda images, t: run_spikingjelly(model, images, t))
    optimize_memory(model, Block, lambda _: forward(images_BCHW, time_steps), level=level)
    return model


def random_images(batch_size: int) -> Tensor:
    """As a normalised data set's."""
    height, width, channels = IMAGE_SHAPE
    return torch.randn(batch_size, channels, height, width, device="cuda", generator=torch.Generator("cuda").manual_seed(0))


def timed(network: Network, train: Train, batch_size: int, time_steps: int, repeats: int) -> dict[str, Any]:
    """Throughput and peak memory of a training step."""
    images, labels = random_images(batch_size), torch.arange(batch_size, device="cuda") % NUM_CLASSES
    durations = []
    try:
        for repeat in range(repeats + 2):  # two to warm up: Triton compiles, cuDNN chooses
            if repeat == 2:
                torch.cuda.reset_peak_memory_stats()
            network.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            start = time.perf_counter()
            train(images, labels, time_steps)
            torch.cuda.synchronize()
            durations.append(time.perf_counter() - start)
    except torch.cuda.OutOfMemoryError:
        network.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return {"failed": "out of memory"}
    duration_s = statistics.median(durations[2:])
    return {
        "images_steps_per_s": round(batch_size * time_steps / duration_s),
        "duration_s": round(duration_s, 4),
        "peak_mib": torch.cuda.max_memory_allocated() // MEBIBYTE,
    }


def seconds_on_gpu(work: Callable[[], object], repeats: int = 10) -> float:
    """Median of the GPU's own clock, after three to warm up."""
    durations: list[float] = []
    for _ in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        work()
        end.record()
        end.synchronize()
        durations.append(start.elapsed_time(end) / 1000)
    return statistics.median(durations[3:])


def matrix_peak(side: int = 8192) -> float:
    """Operations a second of a large product in bfloat16."""
    matrix = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    return float(2 * side**3) / seconds_on_gpu(lambda: matrix @ matrix)


def convolution_share(network: Network, batch_size: int, time_steps: int, peak: float) -> float:
    """Of the peak, in the convolutions of the layers that see spikes, forward and backward, at the shapes of a piece."""
    layers = fused_layers(network)
    weights = low_precision(layers, torch.bfloat16)
    shapes = operation_shapes(network, IMAGE_SHAPE)
    images, length = piece_of(batch_size, time_steps, FOLDED_IMAGES)
    operations = duration_s = 0.0
    for before, layer, weight in zip(layers, layers[1:], weights[1:], strict=False):
        if not isinstance(layer.synapses, nn.Conv2d):
            continue
        spikes_TBN = (torch.rand(length, images, *shapes[before.spikes], device="cuda") < 0.1).to(torch.bfloat16)
        grad_TBN = torch.randn(length, images, *shapes[layer.drive], device="cuda").to(torch.bfloat16)
        spikes, grads = (_channels_last(values) for values in (spikes_TBN, grad_TBN))
        duration_s += seconds_on_gpu(lambda s=spikes, w=weight, a=layer: apply_synapses(s.flatten(0, 1), w, a.synapses))  # type: ignore[misc]
        duration_s += seconds_on_gpu(
            lambda g=grads, s=spikes, w=weight, a=layer: synapse_gradients(g, s, w, a, needs_input_grad=True)  # type: ignore[misc]
        )
        operations += OPERATIONS_PER_MAC * _macs(layer, shapes[layer.drive]) * images * length
    return operations / duration_s / peak


def _channels_last(values_TBCHW: Tensor) -> Tensor:
    folded = values_TBCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return folded.view(values_TBCHW.shape)


if __name__ == "__main__":
    main()
