"""What training a source network once saves: 24 conversions of 3 seeds, with shared source networks and with a source network
for every conversion.

    python -m tests.benchmarks.source_networks --json

Both ways run the same 72 replicates of ``converted_snn`` on the digits through the same engine (Ray Tune, ledger, MLflow) with
all cores of the machine, one after the other; each starts and ends its own Ray. The only difference is where a replicate keeps
its folder: in the study's store, where its source network lies too, or in a store of its own, where it has to train its source
network itself.

Theoretical floor: with P seconds for a source network, C for a conversion and W workers, sharing takes at least (3 P + 72 C) /
W seconds, and the speedup is at most 72 (P + C) / (3 P + 72 C), which tends to 24 where conversions cost nothing. Ray's start
and end, some seconds that both ways pay, come on top, so the measured speedup is below that.

Source networks are cheap here (some seconds) so that the measurement is; the dearer they are, the nearer the speedup comes to 24.
Machine: two virtual cores of an AMD EPYC, no GPU.
"""

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import studies.library_settings

from rich.console import Console

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution import controller, runner

STUDY = """\
question: What does sharing source networks save?
log_models: false
trainable: converted_snn
config: {data: digits, layout: 32 M 64, epochs: 30, batch_size: 32, balance: percentile, calibration_images: 64}
baseline:
  time_steps: 8
  percentile: 99.9
  threshold_scale: 1.0
  initial_membrane_potential: 0.0
  reset: soft
  per: layer
  max_pool: largest_count
factors:
  time_steps: [2, 3, 4, 6, 8, 10, 12, 16]
  percentile: [99.0, 99.5, 99.9, 99.99, 100.0]
  threshold_scale: [0.6, 0.7, 0.8, 0.9, 1.0, 1.1]
  initial_membrane_potential: [0.0, 0.125, 0.25, 0.375, 0.5]
  reset: [soft, hard]
  per: [layer, channel]
  max_pool: [largest_count, or]
seeds: 3
"""


def main() -> None:
    """Measure, and say what came out."""
    parser = argparse.ArgumentParser(description="What training a source network once saves.")
    parser.add_argument("--json", action="store_true", help="JSON alone.")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory(prefix="spikesweep-benchmark-") as scratch:
        result = measure(Path(scratch))
    if not as_json:
        print(f"{result['seconds_shared']:.1f} s with shared source networks, {result['seconds_separate']:.1f} s without")
    print(json.dumps(result))


def measure(folder: Path) -> dict[str, float]:
    """Run the study both ways; the source networks that each way trained are counted by the weights that they left."""
    file = folder / "source_networks.yaml"
    file.write_text(STUDY)
    shared = load_study(str(file), [f"storage={folder / 'shared'}"])
    seconds_shared = seconds_to_run(shared)
    separate = load_study(str(file), [f"storage={folder / 'separate'}"])
    separate.__dict__["replicates"] = tuple(
        dataclasses.replace(replicate, source_network=None) for replicate in separate.replicates
    )
    with (
        patch.object(runner, "checkpoint_folder", folder_of_its_own),
        patch.object(controller, "checkpoint_folder", folder_of_its_own),
    ):
        seconds_separate = seconds_to_run(separate)
    return {
        "sources_trained": num_trained(shared),
        "sources_trained_separately": num_trained(separate),
        "conversions": len(shared.replicates),
        "workers": os.cpu_count() or 1,
        "seconds_shared": round(seconds_shared, 1),
        "seconds_separate": round(seconds_separate, 1),
        "speedup": round(seconds_separate / seconds_shared, 2),
    }


def folder_of_its_own(study: Study, identity: str) -> Path:
    """Where a replicate finds no other's source network."""
    return study.stores.storage / identity / identity


def seconds_to_run(study: Study) -> float:
    """Wall-clock seconds for all of it, Ray's start and end included."""
    start = time.perf_counter()
    outcome = runner.run_study(
        study,
        Console(stderr=True),
        address=None,
        num_cpus=None,
        retry_failed=False,
        write_report=lambda: (Path(tempfile.mkdtemp(dir=study.stores.storage)), ""),
    )
    assert outcome.is_whole, outcome
    return time.perf_counter() - start


def num_trained(study: Study) -> int:
    """How many source networks lie, trained, in the store of a study."""
    return len(list(study.stores.storage.rglob("weights.pt")))


if __name__ == "__main__":
    main()
