"""One training step of BITnet6 on a CPU: the event-driven backend against the reference loop, SpikingJelly and snnTorch.

    python -m tests.benchmarks.training_step --json            T = 16 and 50, one and two threads (a quarter of an hour)
    python -m tests.benchmarks.training_step --short --json    T = 16, one thread (two minutes)

BITnet6 at feature_scale 0.5 (38.6 MMAC per image and step) on 32x32 images, batches of 32. The weights come from a short training
on the scikit-learn digits, enlarged to that size, and their biases are shifted until the spike rates are those of a BITnet6 after
a short training on CIFAR-10 (``RATES``); with ``--data FILE.npz``, from a short training on these images, as it leaves them. The
rates are stated, for everything event-driven depends on them.

- *loop*: the author's style, autograd through every time step, straight-through spikes, the image's convolution at every step;
- *SpikingJelly* 2, multi-step IFNode with soft reset, torch backend, drives clamped; *snnTorch*, Leaky with beta 1 and subtract;
- *exact*, *collapsed* (one group of all steps), *dyadic* (groups of 1, 1, 2, 4, … steps): ours; forward passes are equal.

All run in one process in turns; a number is the median of the turns. With one thread it is CPU time of the process, so that other
processes of the machine matter less; with two it is wall-clock time. At the end, with T = 16 and one thread, the loop and ours
are measured once more at the published sparsity (``PUBLISHED_RATES``). Memory is the peak of a process of its own above what it
holds after a step with T = 1 and one image: libraries, weights and gradients, of ours also as the kernels order them; of every
one the largest of five processes, for what must be there is the most that is taken (the loop's 1.6 GiB of tensors at T = 50 take
1.7 or 2.3 GiB, as glibc's heap happens to lie; all five are in the JSON).

Floor: every spike's row of weights must be read and added, once in the forward pass. ``floor`` says how many additions and bytes
that is, how long they take at the rate at which this machine adds rows that lie in its nearest cache, and what share that is of
our inference: 1 would be perfect.

The recommended settings for few time steps (``RECOMMENDED``) are compared with a plain BITnet, each after a short training of its
own, T = 16 and one thread: ``recommended_vs_bddi`` is the ratio of exact steps with the rates above at the neurons of both,
``recommended_vs_bddi_at_equal_inputs`` the ratio where equally many inputs of each layer are spikes: the work of a forward pass.

Acceptance: exact at least 4 times the loop and 5 times SpikingJelly, collapsed 10 and 14 times; inference 6 times; memory 500 and
60 times less at T = 50, and the largest within 15 % of the smallest for T = 16, 50 and 200. At the published sparsity 6 and 16
times the loop. A step with the recommended settings at most 1.15 times a plain one at equal inputs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.addition_rate import seconds_per_addition
from tests.benchmarks.spike_rates import PUBLISHED_RATES, RATES, set_rates
from trainables import bitnet
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator
from trainables.kernels.cpu.training import EventDrivenTrainer
from trainables.kernels.interface import OutputsOf
from trainables.networks.collapsed import TimeGroups
from trainables.networks.drive_normalisation import start_drives
from trainables.networks.layered import initialise_spiking, synaptic_modules
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.readout import Readout
from trainables.spiking.costs import OperationCounter
from trainables.training.losses import mse_of_drives, mse_of_rates
from trainables.training.memory_peak import MemoryPeak

BATCH_SIZE, SIDE, CLASSES = 32, 32, 10
TRAINING_STEPS = 150
RECOMMENDED: dict[str, Any] = {
    name: getattr(bitnet.Config, name)
    for name in ("normalisation", "drive_std", "initial_membrane_potential", "gradient_margin", "readout")
}
"""What a BITnet learns well with in few time steps."""
TURNS, RATIO_TURNS, PROCESSES = 3, 21, 5
NEAREST_KIB = 24
"""Of rows that lie in the nearest cache."""
Step = Callable[[], object]


def main() -> None:
    """Measure, print a table, and with ``--json`` one last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="T = 16 and one thread alone")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--data", type=Path, help="an .npz file with train_images and train_labels of 32x32 images")
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "T"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        name, time_steps = arguments.memory_of
        print(json.dumps(peak_of(name, int(time_steps))))
        return
    results = measure(short=arguments.short, data=arguments.data)
    if arguments.json:
        print(json.dumps(results))


def measure(*, short: bool, data: Path | None) -> dict[str, Any]:
    """All ratios."""
    images_BCHW, labels_B = images(data)
    network = trained(images_BCHW, labels_B)
    if data is None:
        set_rates(network, images_BCHW[:8])
    images_BCHW, labels_B = images_BCHW[:BATCH_SIZE], labels_B[:BATCH_SIZE]
    results: dict[str, Any] = {"sparsity": sparsity(network, images_BCHW)}
    print("spike rates by layer:", results["sparsity"])
    for num_threads in (1,) if short else (1, 2):
        torch.set_num_threads(num_threads)
        for time_steps in (16,) if short else (16, 50):
            some = {name: step_of(name, network, images_BCHW, labels_B, time_steps) for name in (*THEIRS, *OURS)}
            times = timed(some, num_threads)
            inference = timed(inferences(network, images_BCHW, time_steps), num_threads)
            key = f"T={time_steps}, threads={num_threads}"
            results[key] = {"seconds": times, "inference_seconds": inference}
            print(key, {name: f"{seconds:.3f} s, {times['loop'] / seconds:.2f}x" for name, seconds in times.items()})
            print("  inference", {name: f"{seconds:.3f} s" for name, seconds in inference.items()}, flush=True)
    one = results["T=16, threads=1"]
    for ours in ("exact", "collapsed", "dyadic"):
        for theirs in ("loop", "spikingjelly", "snntorch"):
            results[f"{ours}_vs_{theirs}"] = round(one["seconds"][theirs] / one["seconds"][ours], 2)
    results["inference_vs_loop"] = round(one["inference_seconds"]["loop"] / one["inference_seconds"]["event_driven"], 2)
    results["floor"] = floor(network, images_BCHW, one["inference_seconds"]["event_driven"])
    results |= memory(short=short)
    torch.set_num_threads(1)
    results |= recommended(network, *images(data))
    set_rates(network, images_BCHW[:8], rates=PUBLISHED_RATES)
    some = {name: step_of(name, network, images_BCHW, labels_B, 16) for name in ("loop", *OURS)}
    times = timed(some, 1)
    results["published_sparsity"] = sparsity(network, images_BCHW)
    results |= {f"{name}_vs_loop_at_published_sparsity": round(times["loop"] / times[name], 2) for name in OURS}
    print("at the published sparsity", results["published_sparsity"], times)
    return results


def images(data: Path | None) -> tuple[Tensor, Tensor]:
    """Normalised images ``[N, 3, 32, 32]`` and their labels."""
    if data:
        arrays = np.load(data, allow_pickle=False)
        pixels = torch.from_numpy(arrays["train_images"][:6400]).permute(0, 3, 1, 2).float()
        labels = torch.from_numpy(arrays["train_labels"][:6400]).long()
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = torch.from_numpy(digits.images).float()[:, None].expand(-1, 3, -1, -1)
        pixels, labels = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear"), torch.from_numpy(digits.target)
    return (pixels - pixels.mean()) / pixels.std(), labels


def untrained(images_BCHW: Tensor, **settings: Any) -> Network:
    """BITnet6 at feature_scale 0.5, with the published neuron unless the settings say otherwise."""
    config = bitnet.Config(**{**bitnet.PUBLISHED, "layout": "bitnet", "feature_scale": 0.5, **settings})
    network = bitnet.build(config, (SIDE, SIDE, 3), CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    if config.normalisation != "none":
        start_drives(network, lambda: [ConstantCurrent(images_BCHW[:BATCH_SIZE])], 8, config.drive_std)
    return network


def trained(images_BCHW: Tensor, labels_B: Tensor, **settings: Any) -> Network:
    """The network after a short training with T = 8."""
    network, generator = untrained(images_BCHW, **settings), torch.Generator().manual_seed(1)
    trainer = EventDrivenTrainer(network, (SIDE, SIDE), 8, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=TRAINING_STEPS)
    for _ in range(TRAINING_STEPS):
        some = torch.randint(len(labels_B), (BATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        trainer.gradients(images_BCHW[some], outputs_of(network, 8, 1), _loss_of(network, labels_B[some]))
        optimizer.step()
        schedule.step()
    return network


def outputs_of(network: Network, time_steps: int, groups: TimeGroups | None) -> OutputsOf:
    """What the output neurons make of their drive."""
    return partial(Readout(network).outputs, time_steps=time_steps, groups=groups)


def _loss_of(network: Network, labels_B: Tensor) -> Callable[[Tensor, slice], Tensor]:
    loss = mse_of_rates if Readout(network).neuron else mse_of_drives
    return lambda outputs_TBK, which: loss(outputs_TBK, labels_B[which])


def recommended(plain: Network, images_BCHW: Tensor, labels_B: Tensor) -> dict[str, Any]:
    """The time of an exact step with the recommended settings, as a multiple of a plain one's: at equal spike rates of the
    neurons, and at equal rates of what the layers receive.

    The two differ behind pools: neighbours that begin at one half fire less often at the same time, so that at equal rates more
    of the pools have a spike.
    """
    ours = trained(images_BCHW, labels_B, **RECOMMENDED)
    set_rates(plain, images_BCHW[:8])
    set_rates(ours, images_BCHW[:8])
    ratios = {"recommended_vs_bddi": _ratio_of_steps(ours, plain, images_BCHW, labels_B)}
    wanted, rates = received(plain, images_BCHW), list(RATES[: len(synapses_of(ours)) - 1])
    for _ in range(4):
        rates = [rate * want / have for rate, want, have in zip(rates, wanted, received(ours, images_BCHW), strict=True)]
        set_rates(ours, images_BCHW[:8], rates=rates)
    ratios["recommended_vs_bddi_at_equal_inputs"] = _ratio_of_steps(ours, plain, images_BCHW, labels_B)
    inputs = {"bddi": wanted, "recommended": received(ours, images_BCHW)}
    print("recommended settings", RECOMMENDED, ratios, inputs)
    return {"recommended": RECOMMENDED, **ratios}


def _ratio_of_steps(ours: Network, plain: Network, images_BCHW: Tensor, labels_B: Tensor) -> float:
    batch = images_BCHW[:BATCH_SIZE], labels_B[:BATCH_SIZE]
    steps = {name: step_of("exact", network, *batch, 16) for name, network in (("ours", ours), ("plain", plain))}
    times = timed(steps, 1, turns=RATIO_TURNS)
    return round(times["ours"] / times["plain"], 2)


@torch.no_grad()
def received(network: Network, images_BCHW: Tensor) -> list[float]:
    """How many of the inputs of every layer behind the first are spikes, over 16 steps."""
    seen = _Rates()
    network(images_BCHW[None, :8], 16, observers=[seen])
    return list(seen.received.values())[1:]


class _Rates:
    """Observes spike rates."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.received: dict[str, float] = {}

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        self.received[layer] = round(float((inputs_TBN != 0).float().mean()), 4)

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        self.rates[layer] = round(float(outputs_TBN.mean()), 3)


@torch.no_grad()
def sparsity(network: Network, images_BCHW: Tensor) -> dict[str, float]:
    """The spike rate of every layer over 16 steps."""
    seen = _Rates()
    network(images_BCHW[None], 16, observers=[seen])
    return seen.rates


def synapses_of(network: Network) -> list[nn.Conv2d | nn.Linear]:
    """Its convolutions and linear layers."""
    return synaptic_modules(network)


POOLED = (1, 2, 4)
"""Behind which of them BITnet6 pools."""


def loop(network: Network, images_BCHW: Tensor, time_steps: int) -> Tensor:
    """The spike counts, step by step."""
    synapses = synapses_of(network)
    potentials: list[Tensor | float] = [0.0] * len(synapses)
    counts: Tensor | float = 0.0
    for _ in range(time_steps):
        x = images_BCHW
        for number, module in enumerate(synapses):
            x = x.flatten(1) if isinstance(module, nn.Linear) else x
            u = potentials[number] + module(x).clamp(0, 1)
            spikes = u + ((u >= 1).float() - u).detach()
            potentials[number] = u - spikes
            x = functional.max_pool2d(spikes, 2) if number in POOLED else spikes
        counts = counts + x
    assert isinstance(counts, Tensor)
    return counts


class _Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)


def spikingjelly(network: Network) -> Callable[[Tensor, int], Tensor]:
    """The same network of SpikingJelly's multi-step modules."""
    from spikingjelly.activation_based import functional as sj
    from spikingjelly.activation_based import layer, neuron

    modules: list[nn.Module] = []
    for number, synapses in enumerate(synapses_of(network)):
        if isinstance(synapses, nn.Linear):
            modules += [layer.Flatten(step_mode="m"), layer.Linear(synapses.in_features, synapses.out_features, step_mode="m")]
        else:
            modules.append(layer.Conv2d(synapses.in_channels, synapses.out_channels, 3, padding=1, step_mode="m"))
        modules[-1].load_state_dict(synapses.state_dict())
        modules += [_Clamp(), neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")]
        modules += [layer.MaxPool2d(2, step_mode="m")] if number in POOLED else []
    whole = nn.Sequential(*modules)

    def run(images_BCHW: Tensor, time_steps: int) -> Tensor:
        sj.reset_net(whole)
        spikes_TBK: Tensor = whole(images_BCHW.expand(time_steps, *images_BCHW.shape))
        return spikes_TBK.sum(dim=0)

    return run


def snntorch(network: Network) -> Callable[[Tensor, int], Tensor]:
    """The same network with snnTorch's neurons, whose reset comes a step late."""
    import snntorch as snn

    synapses = synapses_of(network)
    neurons = [snn.Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract") for _ in synapses]

    def run(images_BCHW: Tensor, time_steps: int) -> Tensor:
        potentials = [neuron.reset_mem() for neuron in neurons]
        counts: Any = 0.0
        for _ in range(time_steps):
            x = images_BCHW
            for number, (module, neuron) in enumerate(zip(synapses, neurons, strict=True)):
                x = x.flatten(1) if isinstance(module, nn.Linear) else x
                x, potentials[number] = neuron(module(x).clamp(0, 1), potentials[number])
                x = functional.max_pool2d(x, 2) if number in POOLED else x
            counts = counts + x
        assert isinstance(counts, Tensor)
        return counts

    return run


def reference(network: Network) -> Callable[[Tensor, int], Tensor]:
    """The loop of this network."""
    return lambda images_BCHW, time_steps: loop(network, images_BCHW, time_steps)


THEIRS = {"loop": reference, "spikingjelly": spikingjelly, "snntorch": snntorch}
OURS: dict[str, TimeGroups | None] = {"exact": None, "collapsed": 1, "dyadic": "dyadic"}


def step_of(name: str, network: Network, images_BCHW: Tensor, labels_B: Tensor, time_steps: int) -> Step:
    """A training step without the optimiser."""
    if name in OURS:
        trainer = EventDrivenTrainer(network, (SIDE, SIDE), time_steps, OURS[name])
        return lambda: trainer.gradients(images_BCHW, outputs_of(network, time_steps, OURS[name]), _loss_of(network, labels_B))
    run = THEIRS[name](network)

    def step() -> None:
        rates_BK = run(images_BCHW, time_steps).clamp(max=time_steps) / time_steps
        functional.mse_loss(rates_BK, functional.one_hot(labels_B, CLASSES).float()).backward()  # type: ignore[no-untyped-call]

    return step


def inferences(network: Network, images_BCHW: Tensor, time_steps: int) -> dict[str, Step]:
    """A forward pass without gradients, by name."""

    @torch.no_grad()
    def stepwise() -> Tensor:
        return loop(network, images_BCHW, time_steps)

    @torch.no_grad()
    def folded() -> Tensor:
        outputs_TBK: Tensor = network(images_BCHW[None], time_steps)[0]
        return outputs_TBK

    evaluator, classes = EventDrivenEvaluator(network, (SIDE, SIDE), time_steps), Readout(network).classes
    return {"loop": stepwise, "torch": folded, "event_driven": lambda: classes(evaluator.drives(images_BCHW), time_steps)}


def timed(by_name: dict[str, Step], num_threads: int, *, turns: int = TURNS) -> dict[str, float]:
    """The median time of each, in turns."""
    clock = time.process_time if num_threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in by_name}
    for turn in range(turns + 1):
        for name, step in by_name.items():
            start = clock()
            step()
            if turn:  # the first compiles and warms up
                taken[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def floor(network: Network, images_BCHW: Tensor, inference_s: float) -> dict[str, float]:
    """The additions of a forward pass with T = 16, and how near to their time we are."""
    counter = OperationCounter()
    counter.next_batch(len(images_BCHW))
    EventDrivenEvaluator(network, (SIDE, SIDE), 16).drives(images_BCHW, counter)
    additions = counter.metrics()["ops/effective_acs"] * len(images_BCHW)
    floor_s = additions * seconds_per_addition(NEAREST_KIB)
    return {"additions": additions, "bytes": 4 * additions, "seconds": floor_s, "share": round(floor_s / inference_s, 2)}


def memory(*, short: bool) -> dict[str, Any]:
    """Peaks above the base, each in a process of its own; without ``short`` also how they grow with T."""
    seen: dict[str, list[int]] = {}
    for name in ("loop", "exact", "collapsed"):
        for time_steps in (50,) if short or name == "loop" else (16, 50, 200):
            command = [sys.executable, "-m", "tests.benchmarks.training_step", "--memory-of", name, str(time_steps)]
            outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(PROCESSES)]
            seen[f"{name}, T={time_steps}"] = [json.loads(output.splitlines()[-1]) for output in outputs]
    mib = {name: sorted(round(peak / 2**20, 1) for peak in peaks) for name, peaks in seen.items()}
    print("peak MiB above the base:", mib)
    peaks = {name: max(of_processes) for name, of_processes in seen.items()}
    of_loop = peaks["loop, T=50"]
    ratios = {f"memory_ratio_{name}": round(of_loop / peaks[f"{name}, T=50"], 1) for name in ("exact", "collapsed")}
    return {"peak_mib": mib, **ratios}


def peak_of(name: str, time_steps: int) -> int:
    """The peak of a step above what the process holds after one with T = 1 and one image."""
    torch.set_num_threads(1)
    images_BCHW, labels_B = images(None)
    network = untrained(images_BCHW)
    set_rates(network, images_BCHW[:8])
    images_BCHW, labels_B = images_BCHW[:BATCH_SIZE], labels_B[:BATCH_SIZE]
    step_of(name, network, images_BCHW[:1], labels_B[:1], 1)()
    peak = MemoryPeak(torch.device("cpu"))
    step_of(name, network, images_BCHW, labels_B, time_steps)()
    return int(peak.metrics()["memory/peak_bytes"])


if __name__ == "__main__":
    main()
