"""The figure of ``cost_growth``: a panel per factor, and one of all points against their work."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from analysis.reporting.figures.style import MARKERS, OKABE_ITO, STYLE, panels, svg
from tests.benchmarks.growth_analysis import FACTORS, KINDS, SERIES, Row, rows_of, step_work
from tests.benchmarks.growth_page import NAMES


def write_figure(rows: Sequence[Row], file: Path) -> None:
    """An SVG file, whose folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(svg(growth_figure(rows)))


def growth_figure(rows: Sequence[Row]) -> Figure:
    """Milliseconds an image against every factor, dotted as they would grow from the baseline if they did as the work (for each
    thread) does.
    """
    with mpl.rc_context(STYLE):
        figure, places = panels(len(FACTORS) + 1, 3, (3.4, 3.1))
        for axes, factor in zip(places, FACTORS, strict=False):
            for name in SERIES:
                _draw_factor(axes, rows, factor, name)
            _frame_factor(axes, rows, factor)
        _draw_work(places[-1], rows)
        figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _style(name: str) -> dict[str, Any]:
    whose, kind = name.split(maxsplit=1)
    i = KINDS.index(kind)
    ours = whose == "ours"
    return {
        "color": OKABE_ITO[i],
        "marker": MARKERS[i],
        "linestyle": "-" if ours else "--",
        "markerfacecolor": OKABE_ITO[i] if ours else "none",
        "markersize": 5,
    }


def _draw_factor(axes: Axes, rows: Sequence[Row], factor: str, name: str) -> None:
    some = rows_of(rows, factor, name)
    per_image = [1000 * row["seconds"][name] / row["point"]["batch_size"] for row in some]
    axes.plot([row["point"][factor] for row in some], per_image, label=name, **_style(name))
    every = rows_of(rows, factor)
    baseline = 1000 * rows[0]["seconds"][name] / step_work(rows[0], name)
    work = [baseline * step_work(row, name) / (row["point"]["batch_size"] * row["point"]["num_threads"]) for row in every]
    axes.plot([row["point"][factor] for row in every], work, color=OKABE_ITO[SERIES.index(name) % 3], linestyle=":", linewidth=1)


def _frame_factor(axes: Axes, rows: Sequence[Row], factor: str) -> None:
    levels = [row["point"][factor] for row in rows_of(rows, factor)]
    axes.set(xscale="log", yscale="log", xlabel=NAMES[factor], ylabel="ms an image")
    axes.xaxis.set_major_locator(FixedLocator(levels))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    _frame_heights(axes)


def _frame_heights(axes: Axes) -> None:
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y")


def _draw_work(axes: Axes, rows: Sequence[Row]) -> None:
    """All points with one thread; dotted lines have slope 1."""
    for name in SERIES:
        some = [row for row in rows if row["seconds"][name] is not None and row["point"]["num_threads"] == 1]
        if not some:
            continue
        work = [step_work(row, name) / 1e6 for row in some]
        seconds = [1000 * row["seconds"][name] for row in some]
        axes.plot(work, seconds, **{**_style(name), "linestyle": "none", "markersize": 4})
        ends = [min(work), max(work)]
        slope = seconds[0] / work[0]
        axes.plot(ends, [slope * end for end in ends], color=_style(name)["color"], linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="work of a step: million additions\n(torch: dense MACs)", ylabel="ms a step")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    _frame_heights(axes)
