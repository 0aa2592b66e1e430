"""How accurate a spiking network is on CIFAR-10 after ten minutes of two CPU cores: the baseline cell of ``cifar10_ten_minutes``.

    python -m tests.benchmarks.ten_minutes --json             three seeds (half an hour)
    python -m tests.benchmarks.ten_minutes --json --seeds 0   one of them
    … --set config.lr=0.05                                    with another setting of the study; may be repeated
    … --storage FOLDER                                        keep the studies there

Every seed is a ``spikesweep run cifar10_ten_minutes`` of its own with an empty storage folder. Seconds run from the start of that
process until the last report of its baseline, which has the test accuracy, is recorded; the study's other cell is trained after
that. CIFAR-10 must be in ``$SPIKESWEEP_DATA`` (``cifar10.npz``). The validation images alone decided the settings; no test-time
augmentation.

``--json`` ends with a line: accuracies in percent, by seed, after 4 time steps, at other numbers of steps from the same pass;
spikes per neuron, and additions of the spiking network over multiplications of the analogue one, at 4 steps.

``precision`` is that of the spiking network's evaluation; the analogue network is trained in bfloat16.

Acceptance: at most 600 s each, median test accuracy at least 85 %. Ceiling: the analogue network that is converted
(``analogue_parent``). Machine of the figures in docs/log.md: 2 cores with AMX, torch 2.15.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import studies.library_settings

from mlflow import MlflowClient

from analysis.records.loading import load_recorded_study
from studies.engine.definition.loading import load_study

STUDY = "cifar10_ten_minutes"
TIME_STEPS = 4
ALSO_AT = (1, 2, 8)
MOST_SECONDS = 600


def main() -> None:
    """Run the seeds one after another, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="settings")
    parser.add_argument("--storage", type=Path, help="a folder for the studies")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = arguments.storage or Path(folder)
        results = [one(seed, storage / f"seed{seed}", arguments.settings) for seed in arguments.seeds]
    for seed, result in zip(arguments.seeds, results, strict=True):
        late = "" if result["seconds"] <= MOST_SECONDS else f", which is more than {MOST_SECONDS}"
        print(f"seed {seed}: {result['test_accuracy']} % after {result['seconds']} s{late}")
    if arguments.json:
        print(json.dumps(summary(results)))


def one(seed: int, storage: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Run the study with one seed, and read what it recorded."""
    overrides = [part for setting in (f"seeds=[{seed}]", *settings) for part in ("--set", setting)]
    start = time.time()
    command = [sys.executable, "-m", "studies", "run", STUDY, "--storage", str(storage), *overrides]
    subprocess.run(command, check=True)
    study = load_study(STUDY, [f"storage={storage}", *settings])
    runs = load_recorded_study(STUDY, study.stores.tracking_uri).runs
    (run,) = [found for found in runs if found.levels == study.baseline]
    client = MlflowClient(study.stores.tracking_uri)

    def at(metric: str) -> dict[int, float]:
        return {found.step: found.value for found in client.get_metric_history(run.run_id, metric)}

    tested = at("test/accuracy_at_t")
    metrics = run.metrics
    return {
        "test_accuracy": percent(tested[TIME_STEPS]),
        "at_steps": {f"t{steps}": percent(tested[steps]) for steps in ALSO_AT},
        "validation_accuracy": percent(at("accuracy_at_t")[TIME_STEPS]),
        "seconds": round(run.ended_at_ms / 1000 - start, 1),
        "spikes_per_neuron": round(at("spikes_per_neuron_at_t")[TIME_STEPS], 3),
        "acs_over_macs": round(at("ac_mac_ratio_at_t")[TIME_STEPS], 3),
        "analogue_parent": percent(metrics["parent/test_accuracy"]),
        "facts": dict(run.facts),
    }


def percent(fraction: float) -> float:
    """With two decimals."""
    return round(100 * fraction, 2)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the last line says."""
    by_seed = {name: [result[name] for result in results] for name in results[0] if name not in ("at_steps", "facts")}
    at_steps = {name: [result["at_steps"][name] for result in results] for name in results[0]["at_steps"]}
    median = statistics.median(by_seed["test_accuracy"])
    precision = results[0]["facts"].get("precision", "")
    return by_seed | at_steps | {"median": median, "time_steps": TIME_STEPS, "precision": precision}


if __name__ == "__main__":
    main()
