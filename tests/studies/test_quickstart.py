"""The shipped quickstart, whole."""

import csv
import statistics
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import SPIKESWEEP


def cells_by_accuracy(storage: Path, num_threads: int) -> list[tuple[str, ...]]:
    """The quickstart's cells, best first, when each replicate has so many threads."""
    command = [*SPIKESWEEP, "run", "quickstart", "--storage", str(storage), "--set", f"resources.cpus={num_threads}"]
    subprocess.run(command, check=True, capture_output=True)
    accuracies: dict[tuple[str, ...], list[float]] = defaultdict(list)
    with (storage / "reports/quickstart/replicates.csv").open() as file:
        for row in csv.DictReader(file):
            cell = tuple(row[name] for name in ("time_steps", "feature_scale", "layout"))
            accuracies[cell].append(float(row["val/accuracy"]))
    assert len(accuracies) == 8
    return sorted(accuracies, key=lambda cell: -statistics.fmean(accuracies[cell]))


@pytest.mark.slow
def test_another_thread_count_has_the_same_winner(tmp_path: Path) -> None:
    """One thread a replicate or two: the same configuration wins."""
    one, two = (cells_by_accuracy(tmp_path / str(num), num) for num in (1, 2))
    assert one[0] == two[0]
