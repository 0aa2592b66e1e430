"""The event-driven kernel that Numba compiles against the same algorithm in C++, on layers 2 to 5 of BITnet6.

    python -m tests.benchmarks.numba_against_cpp --json            16 images, 9 turns (a minute or two)
    python -m tests.benchmarks.numba_against_cpp --short --json    4 images, 5 turns (under a minute)

Layers 2 to 5 of BITnet6 at feature_scale 0.5 on 32x32 images, T = 16, one thread. Both sides get the same packed spikes, which
our kernels' earlier layers have fired, and do the same: list the spikes of every row (or what changes from step to step, where
that is less), add their rows of weights in registers, clamp, integrate, fire, reset, pack the bits. ``numba_against_cpp.cpp`` is
compiled by g++ (-O3 -march=native) into a temporary folder and called through ctypes; without a g++ the exit code is 2. Weights
are multiples of 1/1024, so that no sum is rounded and both must fire the same spikes, which is checked first.

Biases are shifted until the spike rates are ``spike_rates.RATES``; the rates of what comes in are stated, for all times depend
on them. Both sides are measured in one process in turns; a number is the median CPU time of the turns, divided by the images.
Beside it: how long each side takes to its first use, compiled with an empty cache, and found in the cache.

Floor: every spike's row of weights is added once, or every change's; ``additions_per_s`` counts those of all spikes.

Acceptance: Numba takes at most 1.5 times as long as C++ for all four layers.
"""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.benchmarks.spike_rates import set_rates
from tests.benchmarks.training_step import CLASSES, SIDE, images
from trainables import bitnet
from trainables.kernels.cpu.compiled.arrays import Array, num_lane_groups, words, zeros
from trainables.kernels.cpu.compiled.firing import Kind
from trainables.kernels.cpu.compiled.forward import FirstLayerState, LayerBuffers, LayerOutputs, Weights, convolution_layer
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator, kind_of
from trainables.kernels.cpu.layer_shapes import Shape
from trainables.kernels.cpu.weights import in_lane_groups
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
NO_COMPILER = 2
"""The exit code without a g++."""
GRAIN = 1024
LAYERS = (1, 2, 3, 4)
"""Those that spikes drive through a convolution, numbered from 0."""
TIME_STEPS = 16
WIDE = 32
Compiled = Any


def main() -> None:
    """Measure, print a table, and with ``--json`` one last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer images and turns")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--feature-scale", type=float, default=0.5)
    parser.add_argument("--no-first-use", action="store_true", help="leave out how long the first use takes")
    parser.add_argument("--first-use", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.first_use:
        print(json.dumps(_first_use(arguments.feature_scale)))
        return
    if not has_compiler():
        print("numba_against_cpp needs g++, and there is none on the PATH: nothing was measured", file=sys.stderr)
        raise SystemExit(NO_COMPILER)
    num_images, turns = (4, 5) if arguments.short else (16, 9)
    results = measure(arguments.feature_scale, num_images, turns)
    if not arguments.no_first_use:
        results["first_use_s"] |= first_uses(arguments.feature_scale)
        print("seconds to the first use:", results["first_use_s"])
    if arguments.json:
        print(json.dumps(results))


def has_compiler() -> bool:
    """Whether there is a g++."""
    return shutil.which("g++") is not None


def compiled(folder: Path) -> tuple[Compiled, float, float]:
    """The C++ function, and the seconds to compile and to load it."""
    library = folder / "numba_against_cpp.so"
    start = time.perf_counter()
    subprocess.run(["g++", *FLAGS, "-o", str(library), str(SOURCE)], check=True)
    between = time.perf_counter()
    function = ctypes.CDLL(str(library)).spiking_layer
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer, *[number] * 7, *[pointer] * 6, number, pointer]
    function.restype = None
    return function, between - start, time.perf_counter() - between


def build(feature_scale: float) -> Network:
    """BITnet6 with weights of few bits and the stated spike rates; of more than 16 channels everywhere."""
    config = bitnet.Config(layout="bitnet", feature_scale=feature_scale, **bitnet.PUBLISHED)
    network = bitnet.build(config, (SIDE, SIDE, 3), CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    set_rates(network, images(None)[0][:4])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * GRAIN).round() / GRAIN)
    return network


class CppLayer:
    """A layer as the C++ side has it: its own copy of the weights, and an array for its spikes.

    Args:
        function: What ``compiled`` returns.
        shape: Of the layer, with more than 16 channels.
        results: Of the layer on our kernels; the spikes get an array of the same shape.
        inputs_NTHWV: Packed spikes with a border.
    """

    def __init__(self, function: Compiled, shape: Shape, results: LayerOutputs, inputs_NTHWV: Array) -> None:
        synapses, neuron, blocks = shape.layer.synapses, shape.layer.neuron, num_lane_groups(shape.outputs)
        assert synapses.bias is not None
        assert neuron is not None
        by_event = synapses.weight.detach().flip(2).permute(3, 1, 2, 0).flatten(0, 2)  # column, channel, row
        rows = _aligned(in_lane_groups(by_event, shape.outputs).transpose(0, 1))
        bias = _aligned(in_lane_groups(synapses.bias.detach(), shape.outputs))
        theta = neuron.firing_threshold.detach().flatten().expand(shape.outputs)
        threshold = _aligned(in_lane_groups(theta, shape.outputs, fill=1.0))
        start = _aligned(in_lane_groups(neuron.start(()).flatten().expand(shape.outputs), shape.outputs))
        height, width = shape.map
        self.spikes, potential, mask = words(*results.spikes.shape), zeros(blocks, height * width, WIDE), words(blocks)
        sizes = (*inputs_NTHWV.shape[:2], height, width, inputs_NTHWV.shape[4], shape.channels, blocks)
        self._kept = (inputs_NTHWV, rows, bias, threshold, start, potential, self.spikes, mask)
        first, *others, last = (kept.ctypes.data for kept in self._kept)
        self._arguments = (first, *sizes, *others, results.border, last)
        self._function = function

    def __call__(self) -> None:
        """Fire."""
        self._function(*self._arguments)


def _aligned(values: Tensor) -> Array:
    made = zeros(*values.shape)
    made[:] = values.numpy()
    return made


@dataclass(frozen=True)
class Case:
    """A layer on both sides: what fires it, the packed spikes of each, the rate of what comes in, the additions per image."""

    numba: Callable[[], None]
    cpp: CppLayer
    numba_spikes: Array
    rate: float
    additions: float

    def check(self) -> None:
        """Fire both, and compare."""
        self.numba_spikes[:] = 0
        self.numba()
        self.cpp()
        self.compare()

    def compare(self) -> None:
        """Look at what both have fired.

        Raises:
            ValueError: Not all spikes are equal.
        """
        num_different = int(np.unpackbits((self.numba_spikes ^ self.cpp.spikes).view(np.uint8)).sum())
        if num_different:
            raise ValueError(f"both sides must fire the same spikes, but {num_different} differ")


def cases(network: Network, num_images: int, function: Compiled) -> list[Case]:
    """Layers 2 to 5, each with the spikes that the layer before it has fired on our kernels."""
    evaluator = EventDrivenEvaluator(network, (SIDE, SIDE), TIME_STEPS)
    space, weights = evaluator._new_space(0, num_images), evaluator._weights()
    evaluator._forward([space], images(None)[0][:num_images], weights)
    driven = evaluator._first_layer_state(space, weights[0].forward)
    made = []
    for number in LAYERS:
        shape, results, inputs = evaluator._shapes[number], space.layer_outputs[number], space.layer_outputs[number - 1].pooled
        num_spikes = np.unpackbits(inputs.view(np.uint8)).reshape(*inputs.shape[:4], -1).sum(axis=-1, dtype=np.int64)
        height, width = shape.input_map
        made.append(
            Case(
                numba=partial(
                    _fire,
                    kind_of(shape),
                    space.forward[number].buffers,
                    shape.channels,
                    inputs,
                    weights[number].forward,
                    results,
                    driven,
                ),
                cpp=CppLayer(function, shape, results, inputs),
                numba_spikes=results.spikes,
                rate=float(num_spikes.sum()) / (num_images * TIME_STEPS * shape.channels * height * width),
                additions=_windows(num_spikes) * shape.outputs / num_images,
            )
        )
    return made


def _fire(
    kind: Kind,
    scratch: LayerBuffers,
    channels: int,
    inputs_NTHWV: Array,
    weights: Weights,
    results: LayerOutputs,
    driven: FirstLayerState,
) -> None:
    """Our side, without the pool behind the layer."""
    convolution_layer(kind, inputs_NTHWV, channels, weights, scratch, results._replace(pools=False), driven)


def _windows(spikes_NTHW: Array) -> int:
    """In how many windows all spikes lie, of a map with a border."""
    height, width = (side - 2 for side in spikes_NTHW.shape[2:])
    return sum(int(spikes_NTHW[:, :, y : y + height, x : x + width].sum()) for y in range(3) for x in range(3))


def measure(feature_scale: float, num_images: int, turns: int) -> dict[str, Any]:
    """The seconds per image of both sides and their ratio, for every layer and for all.

    Raises:
        ValueError: Not all spikes are equal.
    """
    with tempfile.TemporaryDirectory() as folder:
        function, compile_s, load_s = compiled(Path(folder))
    layers = cases(build(feature_scale), num_images, function)
    for case in layers:
        case.check()
    print(f"all spikes of layers 2 to 5 are equal; T={TIME_STEPS}, {num_images} images, one thread")
    results: dict[str, Any] = {"first_use_s": {"cpp_compile": round(compile_s, 2), "cpp_load": round(load_s, 4)}}
    results["layers"] = {}
    totals = {"numba": 0.0, "cpp": 0.0}
    for number, case in zip(LAYERS, layers, strict=True):
        seconds = timed({"numba": case.numba, "cpp": case.cpp}, turns, num_images)
        totals = {side: totals[side] + seconds[side] for side in totals}
        results["layers"][f"layer{number + 1}"] = {
            "spike_rate": round(case.rate, 3),
            "ms_per_image": {side: round(1e3 * taken, 3) for side, taken in seconds.items()},
            "additions_per_s": {side: f"{case.additions / taken:.3g}" for side, taken in seconds.items()},
            "ratio": round(seconds["numba"] / seconds["cpp"], 2),
        }
        print(f"layer{number + 1}", results["layers"][f"layer{number + 1}"])
    results["numba_vs_cpp"] = round(totals["numba"] / totals["cpp"], 2)
    print(f"all four: {results['numba_vs_cpp']} (at most 1.5)", flush=True)
    return results


def timed(sides: dict[str, Callable[[], None]], turns: int, num_images: int) -> dict[str, float]:
    """The median CPU seconds per image of each, in turns."""
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(turns + 1):
        for side, run in sides.items():
            start = time.process_time()
            run()
            if turn:  # the first warms up
                taken[side].append((time.process_time() - start) / num_images)
    return {side: statistics.median(times) for side, times in taken.items()}


def first_uses(feature_scale: float) -> dict[str, float]:
    """How long our kernels take until they can run, in a fresh process: with an empty cache, and with a full one."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "tests.benchmarks.numba_against_cpp", "--first-use"]
        command += ["--feature-scale", str(feature_scale)]
        seconds = {}
        for name in ("numba_compile", "numba_cached"):
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            seconds[name] = json.loads(output.splitlines()[-1])
    return seconds


def _first_use(feature_scale: float) -> float:
    """Import the kernels and warm up an evaluator; a process of its own does it."""
    config = bitnet.Config(layout="bitnet", feature_scale=feature_scale, **bitnet.PUBLISHED)
    network = bitnet.build(config, (SIDE, SIDE, 3), CLASSES)
    start = time.perf_counter()
    EventDrivenEvaluator(network, (SIDE, SIDE), TIME_STEPS).warm_up()
    return round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
