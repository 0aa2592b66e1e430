"""The short form of the fault campaign: real studies, real deaths, and nothing lost, doubled or left running."""

import json
import subprocess
import sys

import pytest


@pytest.mark.faults
def test_the_short_campaign() -> None:
    """`python -m tests.benchmarks.faults --short --json` injects every kind of fault, and counts no harm."""
    command = [sys.executable, "-m", "tests.benchmarks.faults", "--short", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    totals = json.loads(result.stdout.splitlines()[-1])
    assert totals["injected"] >= 10
    assert (totals["lost"], totals["doubled"], totals["left_running"]) == (0, 0, 0)
