"""Accuracy and sparsity of BITnets that are trained at few time steps: as they start today, and as they started before.

    python -m tests.benchmarks.few_steps --json                  the quickstart's network at T = 1, 2, 4, 8 (a minute or two)
    python -m tests.benchmarks.few_steps --before --json         the same with the published start
    python -m tests.benchmarks.few_steps --data cifar10 --json   the same recipe on 5,000 images of CIFAR-10, or fashion_mnist
    … --storage FOLDER     keep what is trained there, and go on from it
    … --page docs          after these: write the tables and the figure of docs/few_steps.md anew from all that the folder has
    … --shares REPORT      what each cure is worth at each T, from replicates.csv in the report of the study few_steps

Network, data, epochs and batch size are those of the shipped quickstart (its baseline cell, read from the study), 10 seeds; on
CIFAR-10 and Fashion-MNIST that network at feature_scale 0.25, halved images, 5,000 for training and 2,000 for validation, 8
epochs, 3 seeds. ``--before`` sets what networks did before: v0 = 0, spiking read-out with ties to the lowest class, no margin,
and the learning rate 0.005. Accuracies are on the validation images, after as many steps as the network was trained with; each
network is also judged after up to 16 steps, for the figure. Two processes with one thread each; the numbers do not depend on
that.

``--json`` ends with a line: for every T the mean and the least accuracy over seeds in percent (``t1`` …), the mean activation
sparsity in percent and the mean spikes per neuron, and the seeds.

Acceptance (digits): T=1 at least 85, T=2 at least 93 and no seed under 89, T=4 at least 95.5, T=8 at least 96.5; sparsity at T=4
and T=8 at least 72. On the others T=2 within 3 points of T=8. Ceiling: an analogue network of the same layout and recipe, which
``--data`` prints beside it.
"""

import argparse
import csv
import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import yaml
from matplotlib.figure import Figure
from scipy.stats import t as students_t

import studies
from analysis.reporting.figures.style import STYLE, line_style, panels, svg
from studies.engine.definition.loading import load_study
from tests.benchmarks.page_blocks import markdown, measured_on, replace_block
from trainables import bitnet
from trainables.data.datasets import default_data_folder, prepare
from trainables.training.configs import identity_of

TIME_STEPS = (1, 2, 4, 8)
JUDGED_UP_TO = 16
"""Time steps of the curves of the figure."""
BEFORE: Mapping[str, Any] = {**bitnet.PUBLISHED, "loss": "mse"}
"""What networks did before: the published neuron and read-out, at the learning rate that was the default."""
ON_LARGER_IMAGES: Mapping[str, Any] = {
    "feature_scale": 0.25,
    "image_downscale": 2,
    "num_train_images": 5000,
    "epochs": 8,
}
NUM_VALIDATION_IMAGES = 2000
NUM_TEST_IMAGES = 100
"""Nothing here is about test images, but every replicate looks at them once."""
NUM_SEEDS = {"digits": 10, "cifar10": 3, "fashion_mnist": 3}
SHIPPED = Path(studies.__file__).parent
NAMES = {"digits": "digits", "cifar10": "CIFAR-10", "fashion_mnist": "Fashion-MNIST"}


@dataclass(frozen=True)
class Result:
    """Of one seed: validation accuracy after 1, 2, … steps; and at the number of steps that it was trained with."""

    accuracy_at_t: list[float]
    accuracy: float
    sparsity: float
    spikes_per_neuron: float
    backend: str


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(NAMES), default="digits")
    parser.add_argument("--before", action="store_true", help="as networks started before")
    parser.add_argument("--storage", type=Path, help="a folder for what is trained, to go on from")
    parser.add_argument("--page", type=Path, help="the docs folder, whose page and figure are written anew")
    parser.add_argument("--shares", type=Path, help="the folder of the report of the study few_steps, or of few_steps_cifar10")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args()
    if arguments.shares:
        if arguments.shares.name not in STUDIES or not (arguments.shares / "replicates.csv").is_file():
            parser.error(
                f"--shares must be the folder reports/few_steps or reports/few_steps_cifar10 of a run, not {arguments.shares}"
            )
        if len({row["seed"] for row in read_replicates(arguments.shares)}) < 2:
            parser.error("--shares needs two seeds or more: the intervals are over seeds")
        print(markdown(shares(arguments.shares)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = trained(arguments.data, arguments.storage or Path(folder), before=arguments.before)
    told = summary(results)
    print(markdown(table([("", told)])))
    if arguments.page:
        write_page(arguments.page, arguments.storage)
    if arguments.json:
        print(json.dumps(told))


def config_of(data: str, time_steps: int, *, before: bool) -> bitnet.Config:
    """The quickstart's baseline cell at another number of time steps, on other images a little wider."""
    study = load_study("quickstart", [])
    config = study.binder.configuration(study.baseline).config
    assert isinstance(config, bitnet.Config)
    if data != "digits":
        num_images = len(prepare(data, default_data_folder()).train_labels)
        config = replace(
            config, **ON_LARGER_IMAGES, validation_fraction=NUM_VALIDATION_IMAGES / num_images, flip=data == "cifar10"
        )
    changes: dict[str, Any] = {"data": data, "time_steps": time_steps, "eval_time_steps": JUDGED_UP_TO, "device": "cpu"}
    return replace(config, **changes, **(BEFORE if before else {}))


def trained(data: str, storage: Path, *, before: bool, seeds: Sequence[int] = (), cpus: int = 2) -> dict[int, list[Result]]:
    """Results by T, one a seed; what ``storage`` has is not trained again."""
    seeds = seeds or range(NUM_SEEDS[data])
    prepare(data, default_data_folder())
    tasks = [(config_of(data, time_steps, before=before), seed, storage) for seed, time_steps in product(seeds, TIME_STEPS)]
    with ProcessPoolExecutor(cpus, mp_context=get_context("spawn")) as processes:
        found = list(processes.map(one, *zip(*tasks, strict=True)))
    return {
        steps: [result for (config, *_), result in zip(tasks, found, strict=True) if config.time_steps == steps]
        for steps in TIME_STEPS
    }


def one(config: bitnet.Config, seed: int, storage: Path) -> Result:
    """Train one replicate, or read what it gave."""
    torch.set_num_threads(1)
    dataset = prepare(config.data, default_data_folder())
    dataset = replace(
        dataset, test_images=dataset.test_images[:NUM_TEST_IMAGES], test_labels=dataset.test_labels[:NUM_TEST_IMAGES]
    )
    folder = storage / identity_of("bitnet", config, data_digest=dataset.digest, seed=seed)
    last = list(bitnet.train(config, seed=seed, dataset=dataset, checkpoint_folder=folder))[-1]
    at = config.time_steps - 1
    curves = last.curves
    return Result(
        accuracy_at_t=curves["accuracy_at_t"],
        accuracy=curves["accuracy_at_t"][at],
        sparsity=curves["sparsity_at_t"][at],
        spikes_per_neuron=curves["spikes_per_neuron_at_t"][at],
        backend=last.run_facts["backend"],
    )


def summary(results: Mapping[int, Sequence[Result]]) -> dict[str, Any]:
    """What the last line says."""

    def mean(steps: int, what: str) -> float:
        return float(statistics.mean(getattr(result, what) for result in results[steps]))

    told: dict[str, Any] = {}
    for steps in results:
        worst = min(result.accuracy for result in results[steps])
        told[f"t{steps}"] = [round(100 * mean(steps, "accuracy"), 2), round(100 * worst, 2)]
    told["sparsity"] = {f"t{steps}": round(100 * mean(steps, "sparsity"), 2) for steps in results}
    told["spikes_per_neuron"] = {f"t{steps}": round(mean(steps, "spikes_per_neuron"), 3) for steps in results}
    told["seeds"] = max(map(len, results.values()))
    told["backends"] = sorted({result.backend for of_steps in results.values() for result in of_steps})
    return told


def table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[str]]:
    """A row for each network: mean accuracy with the least of any seed, sparsity, spikes per neuron."""
    head = ["", *(f"T={steps}" for steps in TIME_STEPS), "sparsity at T=4, 8", "spikes per neuron at T=4, 8"]
    cells = []
    for name, told in rows:
        accuracies = [f"{told[f't{steps}'][0]:.1f} ({told[f't{steps}'][1]:.1f})" for steps in TIME_STEPS]
        sparsities = ", ".join(f"{told['sparsity'][f't{steps}']:.1f}" for steps in (4, 8))
        spikes = ", ".join(f"{told['spikes_per_neuron'][f't{steps}']:.2f}" for steps in (4, 8))
        cells.append([name, *accuracies, sparsities, spikes])
    return [head, *cells]


def has_begun(data: str, storage: Path) -> bool:
    """Whether a storage has the first replicate of a data set."""
    if not (default_data_folder() / f"{data}.npz").exists() and data != "digits":
        return False
    digest = prepare(data, default_data_folder()).digest
    return (storage / identity_of("bitnet", config_of(data, TIME_STEPS[0], before=False), data_digest=digest, seed=0)).exists()


def write_page(docs: Path, storage: Path) -> None:
    """Write the page's table and figure, of the data sets that the storage has begun; what is missing of them is trained."""
    rows, curves = [], {}
    begun = {data: name for data, name in NAMES.items() if has_begun(data, storage)}
    for data, name in begun.items():
        for before in (True, False):
            results = trained(data, storage, before=before)
            rows.append((f"{name}, {'before' if before else 'now'}", summary(results)))
            if data == "digits":
                curves["before" if before else "now"] = results
    seeds = ", ".join(f"{name} {NUM_SEEDS[data]}" for data, name in begun.items())
    note = f"Validation accuracy in %, in brackets the worst seed's; sparsity in %. Seeds: {seeds}. ({measured_on()}.)"
    replace_block(docs / "few_steps.md", "few_steps", f"{markdown(table(rows))}\n\n{note}")
    (docs / "figures" / "few_steps.svg").write_text(svg(drawn(curves)))


STUDIES = ("few_steps", "few_steps_cifar10")
CURES = ("initial_membrane_potential", "readout", "normalisation", "gradient_margin", "lr")
"""The factors of two levels of the study; the baseline's level is the one before."""
FEW = 2
"""The largest number of time steps at which what networks lost before is worth dividing up."""


def shares(report: Path) -> list[list[str]]:
    """What each cure is worth at each T, in points with a 95 % interval over seeds; at T = 1 and 2 with its share of them all.

    Where every combination of cures was trained, a cure's worth is its Shapley value: what it adds to the accuracy, averaged over
    all orders in which the cures can be taken one after another. The values add up to the accuracy with all cures less that with
    none. Of a fraction of the combinations it is the cure's main effect: the mean accuracy of the cells that have it, less that
    of those that do not. Main effects equal Shapley values if no three factors interact; at T = 1 and 2 of few_steps three do, so
    that shares of the sum are only roughly shares of the loss.
    """
    rows = read_replicates(report)
    baseline = yaml.safe_load((SHIPPED / f"{report.name}.yaml").read_text())["baseline"]
    cures = [name for name in CURES if name in baseline]
    steps = sorted({int(row["time_steps"]) for row in rows})
    old = {name: baseline[name] for name in cures}
    worths = {
        (name, t): _worth([row for row in rows if int(row["time_steps"]) == t], name, old) for name, t in product(cures, steps)
    }
    few = [t for t in steps if t <= FEW]
    table = [["cure", *(f"T={t}" for t in steps), *(f"share at T={t}" for t in few)]]
    for name in cures:
        cells = [f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})" for mean, half in (worths[name, t] for t in steps)]
        of_all = [f"{100 * worths[name, t][0] / sum(worths[other, t][0] for other in cures):.0f} %" for t in few]
        table.append([f"`{name}`", *cells, *of_all])
    return table


def read_replicates(report: Path) -> list[dict[str, str]]:
    """The rows of a report's replicates.csv."""
    with (report / "replicates.csv").open() as file:
        return list(csv.DictReader(file))


def _worth(rows: Sequence[Mapping[str, str]], name: str, baseline: Mapping[str, object]) -> tuple[float, float]:
    """Points of accuracy, and half of the 95 % interval over seeds (Student's t)."""
    values = [
        _worth_of_seed([row for row in rows if row["seed"] == seed], name, baseline) for seed in {row["seed"] for row in rows}
    ]
    half = float(students_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), half


def _worth_of_seed(rows: Sequence[Mapping[str, str]], name: str, baseline: Mapping[str, object]) -> float:
    """The Shapley value of a cure if there is a cell for every set of cures, else its main effect."""
    accuracy = {
        frozenset(cure for cure in baseline if yaml.safe_load(row[cure]) != baseline[cure]): 100 * float(row["val/accuracy"])
        for row in rows
    }
    if len(accuracy) < 2 ** len(baseline):
        with_it, without = ([value for cures, value in accuracy.items() if (name in cures) is has] for has in (True, False))
        return statistics.mean(with_it) - statistics.mean(without)
    orders = math.factorial(len(baseline))
    return sum(
        math.factorial(len(cures)) * math.factorial(len(baseline) - len(cures) - 1) / orders * (accuracy[cures | {name}] - value)
        for cures, value in accuracy.items()
        if name not in cures
    )


def drawn(curves: Mapping[str, Mapping[int, Sequence[Result]]]) -> Figure:
    """A panel for each start: the mean accuracy after 1, 2, … steps of networks that were trained with T steps."""
    with mpl.rc_context(STYLE):
        figure, places = panels(len(curves), 2, (4.2, 3.4))
        for axes, (name, by_steps) in zip(places, curves.items(), strict=True):
            for number, (steps, results) in enumerate(by_steps.items()):
                means = [
                    100 * statistics.mean(values) for values in zip(*(result.accuracy_at_t for result in results), strict=True)
                ]
                style = line_style(number)
                axes.plot(range(1, len(means) + 1), means, label=f"trained with T={steps}", linewidth=1.6, markersize=4, **style)
            axes.set(title=name, xlabel="time steps of inference", ylabel="validation accuracy (%)", ylim=(0, 100))
            axes.set_xscale("log", base=2)
            axes.set_xticks([1, 2, 4, 8, 16], labels=["1", "2", "4", "8", "16"])
            axes.grid(axis="y")
        figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    main()
