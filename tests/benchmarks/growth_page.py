"""The tables of ``cost_growth`` in Markdown, and its fits as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.benchmarks.growth_analysis import (
    FACTORS,
    KINDS,
    SERIES,
    Growth,
    Row,
    growth,
    model,
    quantities,
    rows_of,
    work_growth,
)
from tests.benchmarks.growth_fits import CostModel, PowerLaw
from tests.benchmarks.page_blocks import markdown, measured_on

NAMES = {
    "time_steps": "T",
    "feature_scale": "feature_scale",
    "side": "image side",
    "batch_size": "batch",
    "num_threads": "threads",
}
QUANTITIES = {
    "call": "a call",
    "weight": "a weight, once a call",
    "pass": "a dense pass's multiplication, once an image",
    "word": "32 channels at a place and time step, spikes or not",
    "place": "an addition",
}


def tables(rows: Sequence[Row], addition_s: Mapping[str, float]) -> str:
    """All that is said of the points, whose first one is the baseline.

    Args:
        rows: Of ``cost_growth.measure``.
        addition_s: Seconds an addition by the size of the table that rows lie in, the smallest first.
    """
    heads = [f"{whose} {kind}" for whose in ("ours:", "torch:") for kind in KINDS]
    nearest, *_ = addition_s
    floors = floor_shares(rows, addition_s)
    at = ", ".join(f"{1e9 * seconds:.3f} ns from {name}" for name, seconds in addition_s.items())
    baseline = ", ".join(f"{NAMES[factor]} {rows[0]['point'][factor]:g}" for factor in FACTORS)
    models = [model(rows, kind, addition_s[nearest]) for kind in KINDS]
    return "\n\n".join(
        [
            f"Milliseconds an image; one factor at a time is varied from {baseline}. Work is a forward pass's of one image. "
            "What would take PyTorch more than six seconds a step is left out. "
            f"({measured_on()}; with one thread CPU time, with two wall-clock time.)",
            markdown([["", "spike rate", "M additions", "M dense MACs", *heads], *_times(rows)]),
            "Exponents, with standard errors, of the time per image against a factor, beside that of a dense network's work:",
            markdown([["", "work", *heads], *_exponents(rows)]),
            "Of the time per step against its own work (additions; torch: dense MACs), where 1 is in proportion:",
            markdown([["varying", *heads], *_work_exponents(rows)]),
            "What share of the baseline's time is fixed, by `fixed + slope · work` (below 0: grows faster than the work):",
            markdown([["varying", *heads], *_fixed_shares(rows)]),
            "What our steps spend time for, fitted to all points with one thread: for each, and its share at the baseline:",
            markdown([["", *KINDS], *_costs(rows, models)]),
            "Shares by that fit in percent, in the same order:",
            markdown([["", *KINDS], *_shares(rows, models)]),
            "Percent of CPU time that the operating system takes, to hand out memory (page faults):",
            markdown([["", *heads], *_system_shares(rows)]),
            f"A weight is added in {at} of rows. At the first of these rates additions would take {floors[0]:.0%} of our "
            f"inference at the baseline, {min(floors):.0%} to {max(floors):.0%} of it over all points.",
        ]
    )


def _times(rows: Sequence[Row]) -> Iterable[list[str]]:
    for factor in FACTORS:
        for row in rows_of(rows, factor):
            work, batch = row["work"], row["point"]["batch_size"]
            seconds = [row["seconds"][name] for name in SERIES]
            yield [
                f"{NAMES[factor]} {row['point'][factor]:g}",
                f"{work['spike_rate']:.3f}",
                f"{work['additions'] / 1e6:.3g}",
                f"{work['dense_macs'] / 1e6:.4g}",
                *("left out" if value is None else f"{1000 * value / batch:.3g}" for value in seconds),
            ]


def _exponents(rows: Sequence[Row]) -> Iterable[list[str]]:
    for factor in FACTORS:
        fits = [growth(rows, factor, name) for name in SERIES]
        if any(fits):
            yield [
                NAMES[factor],
                _exponent(work_growth(rows, factor)),
                *(_exponent(fit.by_factor if fit else None) for fit in fits),
            ]


def _work_exponents(rows: Sequence[Row]) -> Iterable[list[str]]:
    for factor in FACTORS:
        fits = [growth(rows, factor, name) for name in SERIES]
        if any(fit and fit.by_work for fit in fits):
            yield [NAMES[factor], *(_exponent(fit.by_work if fit else None) for fit in fits)]


def _fixed_shares(rows: Sequence[Row]) -> Iterable[list[str]]:
    for factor in FACTORS:
        shares = [fit.fixed_share if fit else None for fit in (growth(rows, factor, name) for name in SERIES)]
        if any(share is not None for share in shares):
            yield [NAMES[factor], *("" if share is None else f"{share:.1%}" for share in shares)]


def _exponent(law: PowerLaw | None) -> str:
    if law is None:
        return ""
    return f"{law.exponent:.2f}" if law.error is None else f"{law.exponent:.2f} ± {law.error:.2f}"


def _costs(rows: Sequence[Row], models: Sequence[CostModel]) -> Iterable[list[str]]:
    shares = [one.shares(quantities(rows[0])) for one in models]
    for name, words in QUANTITIES.items():
        costs = [one.seconds_per_unit[name] for one in models]
        yield [
            words,
            *(f"{_duration(cost)} ({share[name]:.0%})" for cost, share in zip(costs, shares, strict=True)),
        ]
    yield ["median error of the fit", *(f"{one.median_error:.0%}" for one in models)]


def _duration(seconds: float) -> str:
    if seconds > 1e-4:
        return f"{1e3 * seconds:.2g} ms"
    return f"{1e9 * seconds:.2g} ns" if seconds > 1e-14 else "0"


def _shares(rows: Sequence[Row], models: Sequence[CostModel]) -> Iterable[list[str]]:
    for label, row in _extremes(rows):
        shares = [one.shares(quantities(row)).values() for one in models]
        yield [label, *(" + ".join(f"{100 * share:.0f}" for share in of_kind) for of_kind in shares)]


def _system_shares(rows: Sequence[Row]) -> Iterable[list[str]]:
    for label, row in _extremes(rows):
        shares = [row["system_shares"][name] for name in SERIES]
        yield [label, *("" if share is None else f"{100 * share:.0f}" for share in shares)]


def _extremes(rows: Sequence[Row]) -> Iterable[tuple[str, Row]]:
    yield "baseline", rows[0]
    for factor in FACTORS[:-1]:
        some = rows_of(rows, factor)
        for row in (some[0], some[-1]):
            if row is not rows[0]:
                yield f"{NAMES[factor]} {row['point'][factor]:g}", row


def floor_shares(rows: Sequence[Row], addition_s: Mapping[str, float]) -> list[float]:
    """What part of our inference, at every point, its additions take if all rows come from the nearest cache."""
    nearest = next(iter(addition_s.values()))
    one_thread = [row for row in rows if row["point"]["num_threads"] == 1]
    return [
        row["work"]["additions"] * row["point"]["batch_size"] * nearest / row["seconds"]["ours inference"] for row in one_thread
    ]


def summary(rows: Sequence[Row], addition_s: Mapping[str, float]) -> dict[str, Any]:
    """The fits as plain data."""

    def plain(fit: Growth | None) -> dict[str, float | None] | None:
        if fit is None:
            return None
        by_work = fit.by_work
        return {
            "exponent": fit.by_factor.exponent,
            "error": fit.by_factor.error,
            "exponent_by_work": by_work.exponent if by_work else None,
            "error_by_work": by_work.error if by_work else None,
            "fixed_share": fit.fixed_share,
        }

    return {
        "fits": {factor: {name: plain(growth(rows, factor, name)) for name in SERIES} for factor in FACTORS},
        "seconds_per_unit": {kind: dict(model(rows, kind, next(iter(addition_s.values()))).seconds_per_unit) for kind in KINDS},
        "floor_shares": floor_shares(rows, addition_s),
    }
