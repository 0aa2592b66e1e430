"""How a BITnet6's time per image grows with T, feature_scale, image side, batch and threads: the CPU's kernels and plain torch.

    python -m tests.benchmarks.cost_growth --json              all levels (about ten minutes)
    python -m tests.benchmarks.cost_growth --short --json      small levels alone (a minute)
      … --markdown docs/speed.md --figure docs/figures/cost_growth.svg    write the page's tables and figure anew
      … --results FILE.json    keep every point that is measured, and do not measure again what the file has

One factor at a time is varied from T=16, feature_scale 0.5, 32x32 images, a batch of 16, one thread. *ours* is what the trainer
takes by default on a CPU (``trainer_for`` and ``evaluator_for``), *torch* what it does with ``backend: torch``: the
network's own time-folded run and autograd. Both have the same network, images and loss, and take a step without the optimiser:
exact (straight through), collapsed (one group of all time steps), and inference without gradients. Weights are drawn, not
trained; then biases are shifted, at every point for its own T and images, until the layers' spike rates are ``RATES``: so spikes,
and what they cause, are known. The mean rate is printed, and the share of drives within (0, 1), through which gradients go.

All six run in one process in turns; a number is the median of the turns. With one thread it is CPU time of the process, with two
wall-clock time. What torch would take more than ``MOST_SECONDS`` for, judged by its time at the baseline, is left out.

*Work* is what ``CostMeter`` counts in a forward pass: additions of weights (ours), multiply-accumulates of a dense network
(torch). Fitted are exponents, by least squares of logarithms with their standard error: of the time per image against the
factor, and of the time per step against its work; ``fixed + slope · work`` per factor; and for all points at once
``seconds = Σ cost · quantity``, for what a call, a weight, a dense pass, a word of bits and an addition cost (``quantities``).

Floor: time in proportion to work, an exponent of 1 against it; and every weight must be added once per spike: ``floor_shares``
says how much of our inference that takes, at the rate at which this machine adds rows from its nearest cache. How much
longer rows take from larger tables is measured beside it, and the share of CPU time that the operating system takes, as it does
for pages of memory that are fetched anew in every step. Acceptance: exponents have errors, and docs/speed.md explains those
that are not 1 against the work.
"""

import argparse
import dataclasses
import json
import math
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tests.benchmarks import growth_page
from tests.benchmarks.addition_rate import seconds_per_addition
from tests.benchmarks.growth_analysis import Row
from tests.benchmarks.growth_figure import write_figure
from tests.benchmarks.growth_subject import Point, Step, steps_of, subject_of, work_of
from tests.benchmarks.page_blocks import replace_block

Levels = Mapping[str, Sequence[float]]
LEVELS: Levels = {
    "time_steps": (4, 8, 16, 32, 64, 128),
    "feature_scale": (0.125, 0.25, 0.5, 1, 2),
    "side": (16, 24, 32, 48, 64),
    "batch_size": (1, 4, 16, 64),
    "num_threads": (1, 2),
}
SHORT: Levels = {
    "time_steps": (4, 8, 16),
    "feature_scale": (0.125, 0.25, 0.5),
    "side": (16, 24, 32),
    "batch_size": (1, 4, 16),
    "num_threads": (1, 2),
}
TURNS, MOST_SECONDS = 3, 6.0
LEAST_SECONDS, MOST_REPEATS = 0.05, 20
"""Of one measurement: shorter steps are repeated."""
TABLE_KIB = (24, 512, 4096, 32768, 262144)
"""Sizes of tables of rows, from the nearest cache to memory."""


def main() -> None:
    """Measure, print the tables, write what is asked for, and with ``--json`` one last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small levels, fewer turns")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--results", type=Path, help="a JSON file of points, added to")
    parser.add_argument("--figure", type=Path, help="an SVG file to write")
    parser.add_argument("--markdown", type=Path, help="a page whose block between markers is to be replaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    addition_s = addition_times()
    rows = measure(
        SHORT if arguments.short else LEVELS, Point(), turns=2 if arguments.short else TURNS, results=arguments.results
    )
    tables = growth_page.tables(rows, addition_s)
    print(tables)
    if arguments.figure:
        write_figure(rows, arguments.figure)
    if arguments.markdown:
        replace_block(arguments.markdown, "cost_growth", tables)
    if arguments.json:
        print(json.dumps({"points": rows, "addition_s": addition_s, **growth_page.summary(rows, addition_s)}))


def points_of(levels: Levels, baseline: Point) -> list[Point]:
    """The baseline first, then all that differ from it in one factor."""
    others = [dataclasses.replace(baseline, **{factor: level}) for factor, some in levels.items() for level in some]  # type: ignore[arg-type]
    return list(dict.fromkeys([baseline, *others]))


def measure(levels: Levels, baseline: Point, *, turns: int, results: Path | None = None) -> list[Row]:
    """A row per point, the baseline's first; those that the file ``results`` has are taken from there, others are added to it."""
    known: list[Row] = json.loads(results.read_text()) if results and results.exists() else []
    rows: list[Row] = []
    threads_before = torch.get_num_threads()
    for point in points_of(levels, baseline):
        row = next((row for row in known if row["point"] == dataclasses.asdict(point)), None)
        if row is None:
            row = measured(point, rows[0] if rows else None, turns)
            known.append(row)
            if results:
                results.write_text(json.dumps(known))
        rows.append(row)
        print(described(row), flush=True)
    torch.set_num_threads(threads_before)
    return rows


def measured(point: Point, baseline: Row | None, turns: int) -> Row:
    """The point's factors, its work, and by name the seconds of a step, and the system's share of its CPU time, None where it was
    left out.
    """
    torch.set_num_threads(point.num_threads)
    subject = subject_of(point)
    work = work_of(subject)
    steps, backend = steps_of(subject)
    wanted = {name: step for name, step in steps.items() if _expected_seconds(name, point, work, baseline) <= MOST_SECONDS}
    seconds, system_shares = timed(wanted, point.num_threads, turns)
    return {
        "point": dataclasses.asdict(point),
        "backend": backend,
        "work": work,
        "seconds": dict.fromkeys(steps) | seconds,
        "system_shares": dict.fromkeys(steps) | system_shares,
    }


def _expected_seconds(name: str, point: Point, work: Mapping[str, float], baseline: Row | None) -> float:
    """Of a step of torch, whose time is about that of its multiplications; 0 for what is always measured."""
    if baseline is None or not name.startswith("torch"):
        return 0.0
    of_baseline = baseline["work"]["dense_macs"] * baseline["point"]["batch_size"]
    return float(baseline["seconds"][name] * work["dense_macs"] * point.batch_size / of_baseline)


def timed(steps: Mapping[str, Step], num_threads: int, turns: int) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds of each, in turns, short ones repeated; and the share of CPU time that the operating system took."""
    clock = time.process_time if num_threads == 1 else time.perf_counter
    repeats: dict[str, int] = {}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    of_user, of_system = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0.0)
    for name, step in steps.items():
        step()  # warms up
        start = time.perf_counter()
        step()
        repeats[name] = min(MOST_REPEATS, math.ceil(LEAST_SECONDS / (time.perf_counter() - start)))
    for _ in range(turns):
        for name, step in steps.items():
            before, start = resource.getrusage(resource.RUSAGE_SELF), clock()
            for _ in range(repeats[name]):
                step()
            taken[name].append((clock() - start) / repeats[name])
            after = resource.getrusage(resource.RUSAGE_SELF)
            of_user[name] += after.ru_utime - before.ru_utime
            of_system[name] += after.ru_stime - before.ru_stime
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return medians, {name: of_system[name] / max(of_system[name] + of_user[name], 1e-9) for name in steps}


def addition_times() -> dict[str, float]:
    """Seconds that it takes to add one weight, by the KiB of the table that its row lies in."""
    return {f"{kib} KiB": seconds_per_addition(kib) for kib in TABLE_KIB}


def described(row: Row) -> str:
    """A line of progress."""
    point, work = row["point"], row["work"]
    per_image = {
        name: "left out" if seconds is None else f"{1000 * seconds / point['batch_size']:.2f}"
        for name, seconds in row["seconds"].items()
    }
    factors = " ".join(f"{name}={value:g}" for name, value in point.items())
    return (
        f"{factors}: {work['additions'] / 1e6:.1f} M additions, rate {work['spike_rate']:.3f}, "
        f"open {work['open_share']:.2f}, ms an image {per_image}"
    )


if __name__ == "__main__":
    main()
