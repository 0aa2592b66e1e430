"""Do networks learn the same on plain torch and on the event-driven kernels? Three seeds of a BITnet6 on CIFAR-10 with each.

    python -m tests.benchmarks.learning_curves --json            (seven minutes with two threads)
    python -m tests.benchmarks.learning_curves --short --json    (a minute)
      … --markdown docs/speed.md --figure docs/figures/backends_learn_alike.svg    write the page's paragraph and figure anew

BITnet6 at feature_scale 0.25, T=8, images of 16x16, 5,000 of them, 8 epochs; 2,000 validation images, set aside as for any
study. Compared: ``backend: torch`` (the definition) and ``backend: event_driven``, trained by the same ``bitnet.train`` as any
replicate, with the same seeds, so that initial weights, batches and flips are equal. What differs is the order in which numbers
are added, so their last bits, then some spikes, and in the end weights. ``--storage FOLDER`` keeps checkpoints: an interrupted
run goes on.

``--json`` ends with a line: curves by backend and seed (validation accuracy, sparsity); ``largest_difference`` of the means
over seeds, its epoch, and what that is in standard deviations between seeds (of both backends, pooled, at that epoch; by chance
alone means of three are 0.8 apart, one standard error, and the largest of eight epochs is more); at how many epochs
the ranges of seeds overlap; of the last epoch the mean paired difference with its 95 % interval (Student's t); and for how many
seeds the weights are equal to the last bit. Floor: all are equal. Acceptance: ranges overlap at every epoch.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import t as students_t

from analysis.reporting.figures.style import STYLE, line_style, panels, svg
from tests.benchmarks.page_blocks import measured_on, replace_block
from trainables import bitnet
from trainables.data.datasets import Dataset, default_data_folder, prepare
from trainables.kernels.interface import Backend

SEEDS = (0, 1, 2)
BACKENDS: Mapping[Backend, str] = {"torch": "torch", "event_driven": "event-driven kernels"}
NUM_TEST_IMAGES = 1000
"""Nothing here is about them, but every replicate looks at them once."""
RECIPE: Mapping[str, Any] = {
    **bitnet.PUBLISHED,
    "data": "cifar10",
    "layout": "bitnet",
    "feature_scale": 0.25,
    "time_steps": 8,
    "image_downscale": 2,
    "validation_fraction": 0.04,
    "num_train_images": 5000,
    "flip": True,
    "epochs": 8,
    "device": "cpu",
}
SHORT: Mapping[str, Any] = {**RECIPE, "validation_fraction": 0.01, "num_train_images": 1500, "epochs": 3}
Curves = dict[str, list[list[float]]]
"""By metric, of every seed: its values by epoch."""


def main() -> None:
    """Train what is missing, print the comparison, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer images and epochs")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--figure", type=Path, help="an SVG file to write")
    parser.add_argument("--markdown", type=Path, help="a page whose block between markers is to be replaced")
    parser.add_argument("--storage", type=Path, help="a folder for checkpoints, to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dataset = prepare("cifar10", default_data_folder())
    dataset = dataclasses.replace(
        dataset, test_images=dataset.test_images[:NUM_TEST_IMAGES], test_labels=dataset.test_labels[:NUM_TEST_IMAGES]
    )
    recipe = SHORT if arguments.short else RECIPE
    with tempfile.TemporaryDirectory() as folder:
        results = trained(recipe, dataset, arguments.storage or Path(folder))
    paragraph = told(recipe, results)
    print(paragraph)
    if arguments.markdown:
        replace_block(arguments.markdown, "backends_learn_alike", paragraph)
    if arguments.figure:
        arguments.figure.parent.mkdir(parents=True, exist_ok=True)
        arguments.figure.write_text(svg(drawn(results["curves"])))
    if arguments.json:
        print(json.dumps(results))


def trained(recipe: Mapping[str, Any], dataset: Dataset, storage: Path, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Curves by backend, and how they compare."""
    curves: dict[Backend, Curves] = {backend: {"val/accuracy": [], "sparsity/overall": []} for backend in BACKENDS}
    digests: dict[str, list[str]] = {backend: [] for backend in BACKENDS}
    for seed in seeds:
        for backend in BACKENDS:
            config = bitnet.Config(**recipe, backend=backend)
            name = hashlib.sha256(repr((config, seed, torch.get_num_threads())).encode()).hexdigest()[:16]
            folder = storage / f"{backend}-{seed}-{name}"
            reports = list(bitnet.train(config, seed=seed, dataset=dataset, checkpoint_folder=folder, keep_weights=True))
            assert reports[-1].run_facts["backend"] == backend, reports[-1].run_facts["backend"]
            for metric, of_seeds in curves[backend].items():
                of_seeds.append([report.metrics[metric] for report in reports])
            digests[backend].append(digest_of(folder / "weights.pt"))
            print(backend, seed, [round(value, 3) for value in curves[backend]["val/accuracy"][-1]], flush=True)
    accuracies = {backend: of_backend["val/accuracy"] for backend, of_backend in curves.items()}
    num_equal = sum(len(set(of_seed)) == 1 for of_seed in zip(*digests.values(), strict=True))
    return {"curves": curves, **compared(*accuracies.values()), "equal_weights": f"{num_equal} of {len(seeds)}"}


def digest_of(weights: Path) -> str:
    """Of the values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(torch.load(weights, weights_only=True).items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def compared(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Two sets of curves, one of each a seed: the second's values less the first's."""
    by_epoch = list(zip(zip(*first, strict=True), zip(*second, strict=True), strict=True))
    differences = [statistics.mean(b) - statistics.mean(a) for a, b in by_epoch]
    deviations = [math.sqrt((statistics.variance(a) + statistics.variance(b)) / 2) for a, b in by_epoch]
    largest = max(range(len(differences)), key=lambda epoch: abs(differences[epoch]))
    last = [b - a for a, b in zip(*by_epoch[-1], strict=True)]
    half = float(students_t.ppf(0.975, len(last) - 1)) * statistics.stdev(last) / math.sqrt(len(last))
    mean = statistics.mean(last)
    return {
        "differences": differences,
        "standard_deviations": deviations,
        "largest_difference": differences[largest],
        "its_epoch": largest + 1,
        "in_standard_deviations": abs(differences[largest]) / deviations[largest] if deviations[largest] else None,
        "epochs_whose_ranges_overlap": sum(max(min(a), min(b)) <= min(max(a), max(b)) for a, b in by_epoch),
        "epochs": len(by_epoch),
        "last_paired_difference": mean,
        "its_95_interval": [mean - half, mean + half],
    }


def told(recipe: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """A paragraph for the page."""
    low, high = (100 * bound for bound in results["its_95_interval"])
    largest, last = 100 * abs(results["largest_difference"]), 100 * results["last_paired_difference"]
    deviations, side = results["in_standard_deviations"], 32 // recipe["image_downscale"]
    how_large = "no difference between seeds" if deviations is None else f"{deviations:.1f} standard deviations between seeds"
    return "\n".join(
        [
            f"A BITnet6 at feature_scale {recipe['feature_scale']:g}, T={recipe['time_steps']}, learns "
            f"{recipe['num_train_images']:,} CIFAR-10 images of {side}x{side} in {recipe['epochs']} epochs, "
            f"seeds {', '.join(map(str, SEEDS))}.",
            f"Means over seeds of the validation accuracy differ by at most {largest:.1f} points (after epoch "
            f"{results['its_epoch']}), {how_large};",
            f"seeds' ranges overlap after {results['epochs_whose_ranges_overlap']} of {results['epochs']} epochs. After the last "
            f"one the kernels are at {last:+.1f} points, paired by seed",
            f"(95 % interval {low:+.1f} to {high:+.1f}). Weights are equal to the last bit for {results['equal_weights']} seeds. "
            f"({measured_on()}.)",
        ]
    )


def drawn(curves: Mapping[Backend, Curves]) -> Figure:
    """A panel per metric: thin lines are seeds, thick ones means."""
    labels = {"val/accuracy": "validation accuracy (%)", "sparsity/overall": "activation sparsity (%)"}
    with mpl.rc_context(STYLE):
        figure, places = panels(len(labels), 2, (4.2, 3.4))
        for axes, (metric, label) in zip(places, labels.items(), strict=True):
            for i, (backend, name) in enumerate(BACKENDS.items()):
                of_seeds = [[100 * value for value in values] for values in curves[backend][metric]]
                means = [statistics.mean(values) for values in zip(*of_seeds, strict=True)]
                epochs, style = range(1, len(means) + 1), {**line_style(i), "linestyle": ("-", "--")[i]}
                for values in of_seeds:
                    axes.plot(epochs, values, color=style["color"], linestyle=style["linestyle"], linewidth=0.8, alpha=0.7)
                axes.plot(epochs, means, label=name, linewidth=2, markersize=5, **style)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y")
        figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


if __name__ == "__main__":
    main()
