"""What every way of converting costs in accuracy, and in operations: a small VGG on Fashion-MNIST, three seeds.

    python -m tests.benchmarks.conversions --storage results/conversions

Compared: one trained network, converted in every way that ``converted_snn`` knows, judged on the same images. Floor: the loss of
accuracy of a perfect conversion is 0. Source networks are trained once a seed and kept in ``--storage``, from where an
interrupted run goes on. Prints one line of JSON per conversion and seed, and ends with a table in Markdown: means over seeds,
and the range of the loss. Accuracies at t are of validation images; the test images are judged once, at the last step.
"""

import argparse
import dataclasses
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables import converted_snn
from trainables.data.datasets import Dataset, default_data_folder, prepare
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport

RECIPE: Mapping[str, Any] = {
    "image_downscale": 2,
    "layout": "16 16 A 32 32 A 64 A",
    "validation_fraction": 0.05,
    "epochs": 10,
    "batch_size": 128,
    "lr": 4e-3,
    "time_steps": 64,
}
SENGUPTA: Mapping[str, Any] = {"bias": False, "dropout": 0.1, "mean_per_pixel": True}
"""No biases, no batch norms, average pools, dropout: what Spike-Norm needs, and all conversions can be compared on."""
NORMED: Mapping[str, Any] = {"batch_norm": True, "layout": "16 16 M 32 32 M 64 M"}
SHORT: Mapping[str, Any] = {"time_steps": 8, "balance": "percentile", "initial_membrane_potential": 0.5, "finetune_epochs": 3}

CONVERSIONS: Mapping[str, Mapping[str, Any]] = {
    "data norm (max), soft reset, constant": SENGUPTA,
    "data norm (max), hard reset, constant": {**SENGUPTA, "reset": "hard"},
    "data norm (max), soft reset, Poisson": {**SENGUPTA, "encoding": "poisson"},
    "data norm (max), hard reset, Poisson": {**SENGUPTA, "reset": "hard", "encoding": "poisson"},
    "percentile 99.9, soft, constant": {**SENGUPTA, "balance": "percentile"},
    "percentile 99.9, soft, Poisson": {**SENGUPTA, "balance": "percentile", "encoding": "poisson"},
    "channel-wise percentile, soft, constant": {**SENGUPTA, "balance": "percentile", "per": "channel"},
    "percentile, soft, constant, v0 = θ/2": {**SENGUPTA, "balance": "percentile", "initial_membrane_potential": 0.5},
    "Spike-Norm, hard, Poisson": {
        **SENGUPTA,
        "balance": "spike_norm",
        "reset": "hard",
        "encoding": "poisson",
        "spike_norm_time_steps": 250,
    },
    "Spike-Norm, soft, Poisson": {**SENGUPTA, "balance": "spike_norm", "encoding": "poisson", "spike_norm_time_steps": 250},
    "batch norm + max pools: data norm (max)": NORMED,
    "batch norm + max pools: channel-wise percentile, v0 = θ/2, bias correction": {
        **NORMED,
        "balance": "percentile",
        "per": "channel",
        "initial_membrane_potential": 0.5,
        "bias_correction": True,
    },
    "batch norm, QCFS (L = 8)": {
        "batch_norm": True,
        "activation": "qcfs",
        "qcfs_levels": 8,
        "balance": "qcfs",
        "initial_membrane_potential": 0.5,
    },
    "hybrid: T = 8, 3 epochs of STDB": {**SENGUPTA, **SHORT},
    "hybrid: T = 8, 3 epochs, linear, θ and leak learnt": {**SENGUPTA, **SHORT, "surrogate": "triangle", "train_neurons": True},
    "hybrid: T = 8, 3 epochs, straight-through": {**SENGUPTA, **SHORT, "finetune_gradient": "straight_through"},
}


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", type=Path, default=Path("results/conversions"))
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-test-images", type=int, help="judge on the first so many test images; all unless given")
    parser.add_argument("--only", default="", metavar="TEXT", help="the conversions whose name holds this")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="change the recipe")
    arguments = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (change.split("=", 1) for change in arguments.set)}
    dataset = _with_fewer_test_images(prepare(arguments.data, default_data_folder()), arguments.num_test_images)
    chosen = {name: options for name, options in CONVERSIONS.items() if arguments.only in name}
    reports: dict[str, list[list[EpochReport]]] = {name: [] for name in chosen}
    for seed in range(arguments.seeds):
        for name, options in chosen.items():
            config = converted_snn.Config(data=arguments.data, **{**RECIPE, **options, **changes})
            wrong = list(converted_snn.problems(config, dataset.image_shape))
            if wrong:
                raise SystemExit(f"{name}: {wrong}")
            identity = identity_of("converted_snn", config, data_digest=dataset.digest, seed=seed)
            folder = arguments.storage / identity
            done = list(converted_snn.train(config, seed=seed, dataset=dataset, checkpoint_folder=folder))
            reports[name].append(done)
            print(json.dumps({"conversion": name, "seed": seed, **_figures(done)}), flush=True)
    of = f"{dataset.name}, data digest {dataset.digest[:12]}, {len(dataset.test_labels)} test images"
    print(f"\n{of}, seeds 0 to {arguments.seeds - 1}\n")
    print(_table(reports))


def _with_fewer_test_images(dataset: Dataset, num: int | None) -> Dataset:
    if num is None:
        return dataset
    digest = hashlib.sha256(f"{dataset.digest} {num}".encode()).hexdigest()
    images, labels = dataset.test_images[:num], dataset.test_labels[:num]
    return dataclasses.replace(dataset, digest=digest, test_images=images, test_labels=labels)


def _figures(reports: Sequence[EpochReport]) -> dict[str, float]:
    first, last = reports[0], reports[-1]
    curve = last.curves["accuracy_at_t"]
    at_t = {f"val_at_{t}": curve[t - 1] for t in (1, 2, 4, 8, 16, 32, 64) if t <= len(curve)}
    return {
        "source_test": first.metrics["parent/test_accuracy"],
        "converted_val": first.metrics["val/accuracy"],
        "test": last.metrics["test/accuracy"],
        "loss_points": 100 * (first.metrics["parent/test_accuracy"] - last.metrics["test/accuracy"]),
        **at_t,
        "ac_mac_ratio": last.metrics["ops/ac_mac_ratio"],
        "effective_macs": last.metrics["ops/effective_macs"],
        "effective_acs": last.metrics["ops/effective_acs"],
        "energy_pj": last.metrics["ops/energy_pj"],
        "spikes_per_neuron": last.metrics["spikes_per_neuron/overall"],
        "worst_layer_correlation": min(
            value for name, value in first.metrics.items() if name.startswith("conversion_correlation/")
        ),
    }


def _table(reports: Mapping[str, Sequence[Sequence[EpochReport]]]) -> str:
    lines = [
        "| conversion | ANN test | SNN test | loss, points (range) | t = 1 | 2 | 4 | 8 | 16 | 32 | 64 "
        "| ACs / ANN MACs | MMACs | nJ |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, of_seeds in reports.items():
        figures = [_figures(done) for done in of_seeds]

        def mean(key: str, figures: Sequence[Mapping[str, float]] = figures) -> float:
            return statistics.fmean(figure[key] for figure in figures)

        losses = [figure["loss_points"] for figure in figures]
        at_t = [f"{100 * mean(f'val_at_{t}'):.1f}" if f"val_at_{t}" in figures[0] else "" for t in (1, 2, 4, 8, 16, 32, 64)]
        cells = [
            name,
            f"{100 * mean('source_test'):.2f}",
            f"{100 * mean('test'):.2f}",
            f"{mean('loss_points'):.2f} ({min(losses):.2f} to {max(losses):.2f})",
            *at_t,
            f"{mean('ac_mac_ratio'):.2f}",
            f"{mean('effective_macs') / 1e6:.2f}",
            f"{mean('energy_pj') / 1e3:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
