"""Where the seconds of an epoch of an analogue network go, in float32 and in bfloat16, and how far from the machine's peak it is.

    python -m tests.benchmarks.epoch_profile --json                 real CIFAR-10, as ``prepare`` finds it (five minutes)
    python -m tests.benchmarks.epoch_profile --short --json             fewer turns (one minute)
    python -m tests.benchmarks.epoch_profile --page docs/speed.md       and the tables of that page

The network (``LAYOUT``) has 39 million multiplications an image; batches of 128, flips and crops, AdamW. Every step is
``Trainer.step``, every evaluation ``Judge``'s: what ``fit`` runs. All of it is CPU time of one thread, in turns in one process,
so that other processes matter less; a number is that of the turn that took the least.

*Parts of a step*: a ``TorchDispatchMode`` times every operation, and hooks on the network's modules and the optimiser say to
which part it belongs. What is left of a step that is timed without it is Python and autograd.
*Peak*: a product of two square matrices (``PEAK_SIDE``) in the same precision, between the turns. The multiplications of
convolutions and linear layers are counted with those of the padding, which are made too.
*Start*: a process of its own, up to its first step.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from tests.benchmarks.page_blocks import Table, markdown, measured_on, replace_block
from trainables import ann
from trainables.data.datasets import default_data_folder, prepare
from trainables.networks.activations import ACTIVATIONS
from trainables.networks.network import NORMS, POOLS, SYNAPSES
from trainables.networks.precision import DTYPES, Precision, bfloat16_instructions
from trainables.training.epochs.judging import Judge
from trainables.training.loop import Trainer, backend_request, batch_sizes, splits_of

LAYOUT = "24 48 M 48 96 M 96 96 M 96 M"
CONFIG = ann.Config(
    data="cifar10",
    layout=LAYOUT,
    batch_norm=True,
    activation="clamped_relu",
    batch_size=128,
    flip=True,
    crop_padding=4,
    epochs=1000,
    device="cpu",
)
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as above": {},
    "QCFS": {"activation": "qcfs"},
    "pools before activations": {"pool_before_activation": True},
}
PRECISIONS: Sequence[Precision] = ("float32", "bfloat16")
PEAK_SIDE = 2048
IMAGES, FORWARD, BACKWARD = "images: gathered, augmented, normalised", "convolutions, forward", "convolutions, backward"
NORM, ACTIVATION, POOL = "batch norms", "activations", "pools"
OPTIMISER, REST = "optimiser", "loss, casts, Python and autograd"
PARTS = (FORWARD, BACKWARD, NORM, ACTIVATION, POOL, IMAGES, OPTIMISER, REST)
KINDS: Sequence[tuple[tuple[type[nn.Module], ...], str]] = (
    (SYNAPSES, FORWARD),
    (NORMS, NORM),
    (POOLS, POOL),
    (ACTIVATIONS, ACTIVATION),
)
BACKWARD_OPERATIONS = {
    "convolution_backward": BACKWARD,
    "mm": BACKWARD,
    "native_batch_norm_backward": NORM,
    "max_pool2d_with_indices_backward": POOL,
    "avg_pool2d_backward": POOL,
    "hardtanh_backward": ACTIVATION,
    "threshold_backward": ACTIVATION,
    "mul": ACTIVATION,  # of QCFS
    "sum": ACTIVATION,
}
START = """
import time; began = time.process_time()
from tests.benchmarks.epoch_profile import CONFIG, Subject
imported = time.process_time()
Subject(CONFIG).step()
print(imported, time.process_time() - imported)
"""


class Subject:
    """A network in training, step by step, and its evaluation."""

    def __init__(self, config: ann.Config) -> None:
        dataset = prepare(config.data, default_data_folder())
        self.task = ann.task_of(config, dataset.image_shape, dataset.num_classes)
        self.splits = splits_of(config, dataset, torch.device("cpu"))
        self.network = self.task.build()
        self.task.prepare(self.network, self.splits)
        self._trainer = Trainer(self.task, config, self.network, self.splits)
        self.num_steps = len(batch_sizes(self.splits.train, config))
        self._positions = torch.arange(min(config.batch_size, len(self.splits.train)))
        self._batch = 0
        request = backend_request(self.task, config, config.input_shape(self.splits.image_shape), 1)
        self._judge = Judge(self.task, self.network, self.splits, request)

    def step(self) -> None:
        """One step of the optimiser."""
        self._trainer.begin_epoch()
        self._trainer.step(1, self._batch, self._positions, 1)
        self._batch = (self._batch + 1) % self.num_steps

    def validate(self) -> None:
        """What is done after every epoch."""
        self._judge.on_validation()

    def test(self) -> None:
        """What is done once."""
        self._judge.on_test()


class Timer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types there
    """Adds up the CPU time of operations by the part of a step that they belong to; for one thread."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds: dict[str, float] = defaultdict(float)
        self._phase, self._part = IMAGES, REST
        self._hooks = ExitStack()
        handles = [
            network.register_forward_pre_hook(lambda *_: self._enter("forward", REST)),
            network.register_forward_hook(lambda *_: self._enter("backward", REST)),
            register_optimizer_step_pre_hook(lambda *_: self._enter(OPTIMISER, REST)),
            register_optimizer_step_post_hook(lambda *_: self._enter(IMAGES, REST)),
        ]
        for module in network.modules():
            for kinds, part in KINDS:
                if isinstance(module, kinds):
                    handles.append(module.register_forward_pre_hook(lambda *_, part=part: self._enter("forward", part)))
                    handles.append(module.register_forward_hook(lambda *_: self._enter("forward", REST)))
        for handle in handles:
            self._hooks.callback(handle.remove)

    def _enter(self, phase: str, part: str) -> None:
        self._phase, self._part = phase, part

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = time.thread_time()
        result = func(*args, **(kwargs or {}))
        seconds = time.thread_time() - start
        if self._phase == "backward":
            part = BACKWARD_OPERATIONS.get(func.overloadpacket.__name__, REST)
        else:
            part = self._part if self._phase == "forward" else self._phase
        self.seconds[part] += seconds
        return result

    def close(self) -> None:
        """Take the hooks away."""
        self._hooks.close()


@dataclass
class Measured:
    """Of one config: seconds of one thread.

    Attributes:
        step: Of a step, by turn.
        parts: The same by parts, by turn.
        validation: Of judging the validation images.
        test: Of judging the test images.
        peak: Multiplications a second of a large product.
        forward, backward: Multiplications of convolutions and linear layers in a step.
        num_steps: Of an epoch.
    """

    step: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    forward: float = 0.0
    backward: float = 0.0
    num_steps: int = 0

    def best(self) -> dict[str, float]:
        """Seconds of a step by part, of the turn whose parts took the least; what no operation took is ``REST``."""
        parts = min(self.parts, key=lambda found: sum(found.values()))
        rest = max(0.0, min(self.step) - sum(parts.get(part, 0.0) for part in PARTS if part != REST))
        return {part: parts.get(part, 0.0) for part in PARTS} | {REST: rest}


def main() -> None:
    """Measure, print tables, and with ``--json`` one last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer turns, no evaluation of the test images")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--page", type=Path, help="a page of the documentation whose tables are written anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    turns = 3 if arguments.short else 9
    found = measured(CONFIG, turns=turns)
    variants: dict[str, dict[Precision, float]] = {}
    for name, options in VARIANTS.items():
        of_variant = measured(replace(CONFIG, **options), turns=turns, only_steps=True)
        variants[name] = {precision: min(each.step) for precision, each in of_variant.items()}
    imports, first_step = start()
    text = page(found, variants, imports, first_step)
    print(text)
    if arguments.page:
        replace_block(arguments.page, "epoch_profile", text)
    if arguments.json:
        print(json.dumps(as_data(found, variants, imports, first_step)))


def measured(config: ann.Config, *, turns: int, only_steps: bool = False) -> dict[Precision, Measured]:
    """Both precisions in turns."""
    subjects = {precision: Subject(replace(config, precision=precision)) for precision in PRECISIONS}
    found = {precision: Measured(num_steps=subject.num_steps) for precision, subject in subjects.items()}
    for precision, subject in subjects.items():
        subject.step()
        first, *others = multiplications(subject)
        found[precision].forward = first + sum(others)
        found[precision].backward = first + 2 * sum(others)  # no gradient for the images
    for _ in range(turns):
        for precision, subject in subjects.items():
            found[precision].step.append(seconds_of(subject.step))
            if not only_steps:
                found[precision].parts.append(parts_of_step(subject))
                found[precision].peak.append(peak(precision))
    for precision, subject in {} if only_steps else subjects.items():
        found[precision].validation += [seconds_of(subject.validate) for _ in range(2)]
        found[precision].test.append(seconds_of(subject.test))
    return found


def multiplications(subject: Subject) -> list[int]:
    """Of every convolution and linear layer in the forward pass of one step."""
    found: list[int] = []

    def count(module: nn.Module, _: object, outputs: torch.Tensor) -> None:
        assert isinstance(module.weight, torch.Tensor)
        found.append(outputs.numel() * module.weight[0].numel())

    handles = [part.register_forward_hook(count) for part in subject.network.modules() if isinstance(part, SYNAPSES)]
    subject.step()
    for handle in handles:
        handle.remove()
    return found


def seconds_of(run: Callable[[], object]) -> float:
    """CPU time of the process."""
    start_s = time.process_time()
    run()
    return time.process_time() - start_s


def parts_of_step(subject: Subject) -> dict[str, float]:
    """Seconds of the operations of one step, by part."""
    timer = Timer(subject.network)
    try:
        with timer:
            subject.step()
    finally:
        timer.close()
    return dict(timer.seconds)


def peak(precision: Precision) -> float:
    """Multiplications a second of a product of two matrices."""
    matrix = torch.randn(PEAK_SIDE, PEAK_SIDE).to(DTYPES[precision])
    return PEAK_SIDE**3 / seconds_of(lambda: matrix @ matrix)


def start() -> tuple[float, float]:
    """Seconds of a process up to its imports, and from there to the end of its first step."""
    words = subprocess.run([sys.executable, "-c", START], check=True, capture_output=True, text=True).stdout.split()
    return float(words[-2]), float(words[-1])


def page(
    found: Mapping[Precision, Measured], variants: Mapping[str, Mapping[Precision, float]], imports: float, first_step: float
) -> str:
    """The tables, with the sentences between them."""
    num_steps = found["float32"].num_steps
    best = {precision: each.best() for precision, each in found.items()}
    table: Table = [["", *(f"{precision}, s | %" for precision in PRECISIONS)]]
    totals = {precision: num_steps * sum(parts.values()) for precision, parts in best.items()}
    for part in PARTS:
        seconds = {precision: num_steps * parts[part] for precision, parts in best.items()}
        table.append([part, *(f"{seconds[p]:.1f} | {seconds[p] / totals[p]:.0%}" for p in PRECISIONS)])
    table.append(["**an epoch's training**", *(f"**{totals[p]:.1f}** |" for p in PRECISIONS)])
    table.append(["validation images, after every epoch", *(f"{min(found[p].validation):.1f} |" for p in PRECISIONS)])
    table.append(["test images, once", *(f"{min(found[p].test):.1f} |" for p in PRECISIONS)])
    table.append(["start: imports", *[f"{imports:.1f} |"] * 2])
    table.append(["start: data, network, first step", *[f"{first_step:.1f} |"] * 2])
    rates: Table = [["thousand million multiplications a second", *PRECISIONS]]
    rates.append([f"a product of {PEAK_SIDE}x{PEAK_SIDE} matrices", *(f"{max(found[p].peak) / 1e9:.0f}" for p in PRECISIONS)])
    for name, part in (("forward", FORWARD), ("backward", BACKWARD)):
        of_part = {p: getattr(found[p], name) / best[p][part] for p in PRECISIONS}
        cells = (f"{of_part[p] / 1e9:.0f} ({of_part[p] / max(found[p].peak):.0%})" for p in PRECISIONS)
        rates.append([f"convolutions, {name}", *cells])
    whole = {p: (found[p].forward + found[p].backward) / sum(best[p].values()) for p in PRECISIONS}
    rates.append(["the whole step", *(f"{whole[p] / 1e9:.0f} ({whole[p] / max(found[p].peak):.0%})" for p in PRECISIONS)])
    steps: Table = [["a step of 128 images, ms", *PRECISIONS, "ratio"]]
    for name, of in variants.items():
        ratio = of["float32"] / of["bfloat16"]
        steps.append([name, *(f"{1e3 * of[p]:.0f}" for p in PRECISIONS), f"{ratio:.1f}"])
    machine = f"{measured_on()}; bfloat16: {bfloat16_instructions() or 'emulated'}"
    network = f"`{LAYOUT}`, batch norms, clamped ReLU, CIFAR-10, batches of 128, one thread ({machine})."
    epoch = "\n".join(["| | float32, s | % | bfloat16, s | % |", "|---|---:|---:|---:|---:|", *markdown(table).split("\n")[2:]])
    return f"{network}\nAn epoch is {num_steps} steps.\n\n{epoch}\n\n{markdown(rates)}\n\n{markdown(steps)}"


def as_data(
    found: Mapping[Precision, Measured], variants: Mapping[str, Mapping[Precision, float]], imports: float, first_step: float
) -> dict[str, Any]:
    """Everything in seconds and multiplications, for ``--json``."""
    of_precisions: dict[str, Any] = {precision: {**vars(each), "best": each.best()} for precision, each in found.items()}
    return {**of_precisions, "variants": variants, "start": {"imports": imports, "first_step": first_step}}


if __name__ == "__main__":
    main()
