"""What the times of ``cost_growth`` say: exponents, fixed costs, and what a call, a word of bits and an addition cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.growth_fits import CostModel, FixedAndGrowing, PowerLaw, cost_model, fixed_and_growing, power_law

Row = dict[str, Any]
"""Of one point: its factors, its work, its seconds by name."""
FACTORS = ("time_steps", "feature_scale", "side", "batch_size", "num_threads")
KINDS = ("exact", "collapsed", "inference")
SERIES = tuple(f"{whose} {kind}" for whose in ("ours", "torch") for kind in KINDS)


@dataclass(frozen=True)
class Growth:
    """How one series grows with one factor.

    Attributes:
        by_factor: The time per image against the factor.
        by_work: The time per step against its work; None where the work does not vary.
        fixed: The time per step as a fixed cost and one that grows with the work; None with fewer than three points.
        fixed_share: Of the time at the baseline.
    """

    by_factor: PowerLaw
    by_work: PowerLaw | None
    fixed: FixedAndGrowing | None
    fixed_share: float | None


def rows_of(rows: Sequence[Row], factor: str, series: str | None = None) -> list[Row]:
    """The baseline, which is the first row, and the rows that differ from it in this factor alone, in its order."""
    baseline = rows[0]["point"]
    some = [row for row in rows if all(row["point"][other] == baseline[other] for other in baseline if other != factor)]
    timed = [row for row in some if series is None or row["seconds"][series] is not None]
    return sorted(timed, key=lambda row: float(row["point"][factor]))


def step_work(row: Row, series: str) -> float:
    """Of a whole batch: our additions of weights, torch's multiply-accumulates."""
    return float(row["work"]["additions" if series.startswith("ours") else "dense_macs"] * row["point"]["batch_size"])


def growth(rows: Sequence[Row], factor: str, series: str) -> Growth | None:
    """The fits of one series to one factor; None with fewer than two points."""
    some = rows_of(rows, factor, series)
    if len(some) < 2:
        return None
    seconds = [row["seconds"][series] for row in some]
    per_image = [row["seconds"][series] / row["point"]["batch_size"] for row in some]
    work = [step_work(row, series) for row in some]
    by_factor = power_law([row["point"][factor] for row in some], per_image)
    if factor == "num_threads":
        return Growth(by_factor, None, None, None)
    line = fixed_and_growing(work, seconds) if len(some) > 2 else None
    share = line.fixed_share(step_work(rows[0], series)) if line else None
    return Growth(by_factor, power_law(work, seconds), line, share)


def work_growth(rows: Sequence[Row], factor: str) -> PowerLaw | None:
    """The exponent of the dense network's work per image; None with fewer than two points, or where it is the same at all."""
    some = rows_of(rows, factor)
    work = [row["work"]["dense_macs"] for row in some]
    return power_law([row["point"][factor] for row in some], work) if len(set(work)) > 1 else None


def quantities(row: Row) -> dict[str, float]:
    """What a step of ours costs time for.

    A call; weights that are laid out for it; what is done once an image whatever T is (the first layer's convolution, a
    collapsed gradient), by the multiplications of a dense pass; words of 32 channels' bits, which are there whether anybody
    spikes or not; and additions, of all places of a row.
    """
    work, point = row["work"], row["point"]
    batch, time_steps = point["batch_size"], point["time_steps"]
    return {
        "call": 1.0,
        "weight": work["weights"],
        "pass": batch * (work["first_macs"] + (work["dense_macs"] - work["first_macs"]) / time_steps),
        "word": batch * time_steps * work["words"],
        "place": batch * work["places"],
    }


def model(rows: Sequence[Row], kind: str, addition_s: float) -> CostModel:
    """The cost of each quantity, from all points with as many threads as the baseline; additions cost ``addition_s`` at least."""
    some = [row for row in rows if row["point"]["num_threads"] == rows[0]["point"]["num_threads"]]
    return cost_model([quantities(row) for row in some], [row["seconds"][f"ours {kind}"] for row in some], {"place": addition_s})
