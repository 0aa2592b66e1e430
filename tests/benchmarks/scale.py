"""Ten thousand trials of the response surface in one study: time a trial, the driver's memory, and how long ``status`` takes.

    python -m tests.benchmarks.scale [--trials 10000] [--json]

One study, as its users run it: ``spikesweep run`` with Ray, ledger and MLflow in files, two at a time, random values of seven
parameters. Times are from the ledger (when trials were complete): of a hundred trials around the hundredth, and of the last
hundred. Memory is the driver's resident size when a tenth of the trials were complete, and at its largest before the report.
``status`` is a fresh process, three times, the median.

What must grow: the driver keeps of every trial what it planned and what became of it, some kilobytes.

Machine of the figures in docs/log.md: 2 virtual cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

STUDY = """\
question: How large may a study be?
trainable: response_surface
factors: {{{factors}}}
design: {{name: adaptive_search, sampler: random, num_trials: {num_trials}}}
seeds: 1
"""
SPIKESWEEP = [sys.executable, "-m", "studies"]
PAGE_BYTES = 4096


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def completion_times(journal: Path) -> list[float]:
    """Seconds since 1970, in order."""
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    times = [record["datetime_complete"] for record in records if record.get("datetime_complete")]
    return sorted(datetime.fromisoformat(text).timestamp() for text in times)


def measure(num_trials: int, folder: Path) -> dict[str, float]:
    file, storage = folder / "scale.yaml", folder / "results"
    factors = ", ".join(f"{name}: {{low: -1, high: 1}}" for name in "abcdefg")
    file.write_text(STUDY.format(factors=factors, num_trials=num_trials))
    begun = time.monotonic()
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen([*SPIKESWEEP, "run", str(file), "--storage", str(storage)], stdout=log, stderr=log)
        at_tenth, largest = 0, 0
        while driver.poll() is None:
            num_done = len(list((storage / "checkpoints").glob("*"))) if storage.exists() else 0
            if num_done < num_trials and (bytes_now := resident_bytes(driver.pid)):
                largest = max(largest, bytes_now)
                at_tenth = at_tenth or (bytes_now if num_done >= num_trials / 10 else 0)
            time.sleep(1)
    assert driver.returncode == 0, (folder / "log").read_text()
    seconds = time.monotonic() - begun
    times = completion_times(storage / "ledgers" / "scale.journal")
    assert len(times) == num_trials
    answers = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([*SPIKESWEEP, "status", str(file), "--storage", str(storage)], check=True, capture_output=True)
        answers.append(time.monotonic() - start)
    early, late = (times[150] - times[50]) / 100, (times[-1] - times[-101]) / 100
    return {
        "trials": num_trials,
        "seconds_in_all": seconds,
        "seconds_training": times[-1] - times[0],
        "seconds_per_trial_at_100": early,
        "seconds_per_trial_at_end": late,
        "growth": late / early,
        "driver_mib_at_tenth": at_tenth / 2**20,
        "driver_mib_largest": largest / 2**20,
        "status_s": statistics.median(answers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.trials, Path(folder))
    print(json.dumps(found) if arguments.json else "\n".join(f"{name:28} {value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
