"""Studies that meet bad luck: drivers that die after any write, and the short form of the fault campaign with real deaths."""

import json
import subprocess
import sys

import pytest

HARMS = ("lost", "doubled", "left_running", "outside_storage")


def totals_of(module: str, *options: str) -> dict[str, int]:
    """What a campaign counted; a process of its own runs it, because it forks."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *options, "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    totals: dict[str, int] = json.loads(result.stdout.splitlines()[-1])
    assert {name: totals[name] for name in HARMS} == dict.fromkeys(HARMS, 0)
    return totals


@pytest.mark.slow
def test_a_driver_may_die_after_every_one_of_its_writes() -> None:
    """Wherever it is killed, the same command goes on, and nothing is lost or doubled; the short campaign tries 30 points."""
    assert totals_of("crash_points")["crash_points"] > 80


@pytest.mark.faults
def test_the_short_campaign() -> None:
    """`python -m tests.benchmarks.faults --short --json` injects every kind of fault, and counts no harm."""
    totals = totals_of("faults", "--short")
    assert totals["injected"] >= 10
    assert totals["crash_points"] == 30
