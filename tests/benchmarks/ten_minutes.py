"""How accurate a spiking network is on CIFAR-10 after ten minutes of two CPU cores: the baseline cell of ``cifar10_ten_minutes``.

    python -m tests.benchmarks.ten_minutes --json             three seeds (half an hour)
    python -m tests.benchmarks.ten_minutes --json --seeds 0   one of them
    … --set config.lr=0.05                                    with another setting of the study; may be repeated
    … --storage FOLDER                                        keep the studies there; what it has is not run again
    … --page docs                                             write the table and the figure of the page of results anew

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

import matplotlib as mpl
from matplotlib.figure import Figure
from mlflow import MlflowClient

from analysis.records.loading import load_recorded_study
from analysis.reporting.figures.style import STYLE, line_style, panels, svg
from studies.engine.definition.loading import load_study
from tests.benchmarks.page_blocks import markdown, measured_on, replace_block

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
    parser.add_argument("--page", type=Path, help="the docs folder, whose page and figure are written anew")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        storage = arguments.storage or Path(folder)
        results = [one(seed, storage / f"seed{seed}", arguments.settings) for seed in arguments.seeds]
    for seed, result in zip(arguments.seeds, results, strict=True):
        late = "" if result["seconds"] <= MOST_SECONDS else f", which is more than {MOST_SECONDS}"
        print(f"seed {seed}: {result['test_accuracy']} % after {result['seconds']} s{late}")
    if arguments.page:
        write_page(arguments.page, arguments.seeds, results)
    if arguments.json:
        print(json.dumps(summary(results)))


def one(seed: int, storage: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Run the study with one seed, and read what it recorded; or read what it gave before."""
    found = storage / "ten_minutes.json"
    if not found.exists():
        start = time.time()
        run(seed, storage, settings)
        found.write_text(json.dumps({"settings": list(settings), "result": measured(storage, settings, start)}))
    kept: dict[str, Any] = json.loads(found.read_text())
    if kept["settings"] != list(settings):
        raise SystemExit(f"{found} is of other settings ({' '.join(kept['settings']) or 'none'}): give another --storage")
    result: dict[str, Any] = kept["result"]
    return result


def run(seed: int, storage: Path, settings: Sequence[str]) -> None:
    """Run the study with one seed."""
    overrides = [part for setting in (f"seeds=[{seed}]", *settings) for part in ("--set", setting)]
    command = [sys.executable, "-m", "studies", "run", STUDY, "--storage", str(storage), *overrides]
    subprocess.run(command, check=True)


def measured(storage: Path, settings: Sequence[str], start: float) -> dict[str, Any]:
    """What the study recorded of its baseline, and how many seconds after ``start``."""
    study = load_study(STUDY, [f"storage={storage}", *settings])
    runs = load_recorded_study(STUDY, study.stores.tracking_uri).runs
    (run,) = [found for found in runs if found.levels == study.baseline]
    client = MlflowClient(study.stores.tracking_uri)

    def at(metric: str) -> dict[int, float]:
        return {found.step: found.value for found in client.get_metric_history(run.run_id, metric)}

    tested = at("test/accuracy_at_t")
    metrics = run.metrics
    return {
        "test_accuracy_at_t": [percent(tested[steps]) for steps in sorted(tested)],
        "test_accuracy": percent(tested[TIME_STEPS]),
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
    by_seed = {name: [result[name] for result in results] for name in results[0] if name not in ("facts", "test_accuracy_at_t")}
    at_steps = {f"t{steps}": [result["test_accuracy_at_t"][steps - 1] for result in results] for steps in ALSO_AT}
    median = statistics.median(by_seed["test_accuracy"])
    precision = results[0]["facts"].get("precision", "")
    return by_seed | at_steps | {"median": median, "time_steps": TIME_STEPS, "precision": precision}


def write_page(docs: Path, seeds: Sequence[int], results: Sequence[dict[str, Any]]) -> None:
    """Write the page's table and figure anew."""
    head = ["seed", "T=1", "T=2", "T=4", "T=8", "analogue", "spikes per neuron", "ACs / MACs", "seconds"]
    rows = [
        [
            str(seed),
            *(f"{result['test_accuracy_at_t'][steps - 1]:.2f}" for steps in (1, 2, 4, 8)),
            f"{result['analogue_parent']:.2f}",
            f"{result['spikes_per_neuron']:.3f}",
            f"{result['acs_over_macs']:.3f}",
            f"{result['seconds']:.1f}",
        ]
        for seed, result in zip(seeds, results, strict=True)
    ]
    replace_block(docs / "results" / f"{STUDY}.md", "ten_minutes", f"{markdown([head, *rows])}\n\n({measured_on()}.)")
    (docs / "results" / "figures" / "ten_minutes.svg").write_text(svg(drawn(seeds, results)))


def drawn(seeds: Sequence[int], results: Sequence[dict[str, Any]]) -> Figure:
    """Test accuracy after 1, 2, … steps, a line for each seed, and the mean of the analogue networks."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels(1, 1, (5.2, 3.6))
        for number, (seed, result) in enumerate(zip(seeds, results, strict=True)):
            accuracies = result["test_accuracy_at_t"]
            axes.plot(range(1, len(accuracies) + 1), accuracies, label=f"seed {seed}", linewidth=1.6, **line_style(number))
        analogue = statistics.mean(result["analogue_parent"] for result in results)
        axes.axhline(analogue, color="0.4", linestyle=":", label="analogue networks")
        axes.set(xlabel="time steps of inference", ylabel="test accuracy (%)")
        axes.grid(axis="y")
        axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
