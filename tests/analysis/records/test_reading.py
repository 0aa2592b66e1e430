"""A large study is read in time: the benchmark itself, in its short form."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_reading_a_store_and_a_server() -> None:
    """500 runs are read with their curves, from a file and from a server, in a handful of requests and within a minute each."""
    command = [sys.executable, "-m", "tests.benchmarks.reading", "--short", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(result.stdout.splitlines()[-1])
    assert found.keys() == {"SQLite file", "MLflow server"}
    for figures in found.values():
        assert figures["load_s"] + figures["report_s"] < 60
        assert figures["requests"] < 30
