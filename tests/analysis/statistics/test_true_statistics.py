"""The statistics are true: the short form of the calibration runs, and what it counts is in range."""

import json
import os
import subprocess
import sys

import pytest


def test_short_calibration() -> None:
    """`python -m tests.benchmarks.calibration --short --json` ends with the coverage of intervals and the family-wise error.

    The bounds are four simulation errors wide.
    """
    command = [sys.executable, "-m", "tests.benchmarks.calibration", "--short", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    found = json.loads(done.stdout.splitlines()[-1])
    coverage, coverage_error = found["coverage_95"]
    errors, error_of_errors = found["family_wise_error"]
    assert 0 < coverage_error < 0.01
    assert abs(coverage - 0.95) < 4 * coverage_error
    assert errors <= 0.05 + 4 * error_of_errors
    assert found["contrasts"]["10 seeds, normal"]["percentile bootstrap covered"][0] < 0.95
    assert "| 3 seeds, heavy tails (t3), 10 % missing |" in done.stderr
    of_eight = found["ranks"]["10 seeds, 8 equal cells"]
    covered, error_of_covered = of_eight["interval of the first covered"]
    assert covered >= 0.95 - 4 * error_of_covered
    wrong, error_of_wrong = of_eight["called the best and is not"]
    assert wrong <= 0.05 + 4 * error_of_wrong


@pytest.mark.slow
def test_short_search_claims() -> None:
    """`python -m tests.benchmarks.search_claims --short --json` ends with every sampler's rates; the dominant factor is found."""
    command = [sys.executable, "-m", "tests.benchmarks.search_claims", "--short", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"random", "qmc", "tpe", "nsga2"}
    assert all(rates["dominant largest by fANOVA"][0] == 1 for rates in found.values())
