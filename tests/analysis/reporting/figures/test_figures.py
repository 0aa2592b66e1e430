"""Figures: what is on their axes, and that what lies close together is told apart."""

import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from analysis.reporting.document_model import CaptionedFigure
from analysis.reporting.figures import effects, spiking, style
from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.figures.style import frame_accuracies, panels
from analysis.reporting.topics.paper_tables import are_numbered, results_tables
from analysis.statistics.data.estimates import Estimate, mean_interval
from analysis.statistics.summary import Summary, summarise
from search_spaces.language.space import Level
from tests.analysis.examples import run_of, study_of
from tests.analysis.reporting.topics.test_published import BITNET, summary_of
from tests.analysis.statistics.test_spiking import spiking_run, spiking_study
from tests.analysis.statistics.test_summary import recorded
from tests.analysis.statistics.test_summary import summary_of as summary_of_recorded

PICTURE = Path(__file__).parents[4] / "docs" / "figures" / "summary.png"
"""``figures/differences_from_the_baseline.png`` of the quickstart's report, as ``spikesweep report quickstart`` writes it."""


def texts(figure: Figure | None, panel: int = 0) -> list[str]:
    """What stands inside a panel."""
    assert figure is not None
    return [text.get_text() for text in figure.axes[panel].texts]


def by_gain(*gains: float) -> Summary:
    """Levels of one factor that gain so much over the first, with a little noise."""
    runs = [
        run_of({"a": i}, seed, 0.5 + gain + 0.001 * ((seed + i) % 3)) for i, gain in enumerate((0, *gains)) for seed in range(8)
    ]
    return summarise(study_of("one_factor_at_a_time", {"a": list(range(len(gains) + 1))}, runs), runs)


def test_many_levels_have_lines_of_their_own() -> None:
    """Two dozen lines differ in colour, marker or dashes."""
    assert len({tuple(sorted(style.line_style(i).items())) for i in range(24)}) == 24


def test_a_factor_without_a_curve_has_no_panel() -> None:
    """Where some cells have one step, the levels of other factors have one in common: nothing to draw. Without any curve there is
    no figure.
    """
    cells: list[dict[str, Level]] = [{"time_steps": steps, "a": a} for steps in (1, 2) for a in (0, 1)]
    runs = [run_of(cell, seed) for cell in cells for seed in range(2)]
    runs = [replace(run, accuracy_at_t=run.accuracy_at_t[-1 if run.levels["time_steps"] == 1 else 0 :]) for run in runs]
    figure = effects.accuracy_against_t(summarise(study_of("full_factorial", {"time_steps": [1, 2], "a": [0, 1]}, runs), runs))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["time_steps"]
    runs = [replace(run, accuracy_at_t=run.accuracy_at_t[:1]) for run in runs]
    summary = summarise(study_of("full_factorial", {"time_steps": [1, 2], "a": [0, 1]}, runs), runs)
    assert effects.accuracy_against_t(summary) is None


def test_the_baseline_is_named_in_the_differences() -> None:
    """Every factor has its baseline level on the axis, at nought; both outcomes share the labels."""
    figure = effects.differences(summary_of_recorded(recorded()))
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["time_steps = 8 (baseline)", "time_steps = 16", "layout = 64 M (baseline)", "layout = 64 <b>&|A"]
    assert [axes.get_title() for axes in figure.axes] == ["validation accuracy", "activation sparsity"]


def test_one_huge_difference_does_not_hide_the_others() -> None:
    """The axis is then logarithmic away from 0, and says so; without such a difference it is not."""
    spread, even = effects.differences(by_gain(0.4, 0.002, 0.003)), effects.differences(by_gain(0.4, 0.3, 0.2))
    assert spread is not None
    assert even is not None
    assert (spread.axes[0].get_xscale(), even.axes[0].get_xscale()) == ("symlog", "linear")
    assert "logarithmic beyond ±" in spread.axes[0].get_xlabel()


def test_a_logarithmic_axis_shows_whole_intervals() -> None:
    """Its limits lie outside of every interval, also outside of the widest."""
    summary = by_gain(-0.4, 0.002, 0.003)
    figure = effects.differences(summary)
    assert figure is not None
    low, high = figure.axes[0].get_xlim()
    found = [effect.contrast.difference for effect in next(iter(summary.effects.values())) if effect.contrast]
    assert low < min(100 * one.low for one in found)
    assert high > max(100 * one.high for one in found)


def test_the_picture_of_the_readme() -> None:
    """The quickstart's differences from the baseline: twice as wide as it is shown, opaque, and small enough to load at once."""
    data = PICTURE.read_bytes()
    assert struct.unpack(">I", data[16:20]) == (1600,)
    assert len(data) < 200 * 1024
    assert image.imread(PICTURE)[..., -1].min() == 1


@pytest.mark.parametrize(("percents", "scale"), [((40, 95, 96), "function"), ((40, 50), "linear"), ((94, 95, 96), "linear")])
def test_accuracies_near_the_top_are_spread_out(percents: tuple[float, ...], scale: str) -> None:
    """An axis is logarithmic in the error where some are nearly right and others far from it; all means are on it."""
    _, (axes,) = panels(1, 1, (4, 3))
    estimates = [mean_interval([percent / 100 - 0.005, percent / 100 + 0.005]) for percent in percents]
    frame_accuracies(axes, estimates)
    low, high = axes.get_ylim()
    assert axes.get_yscale() == scale
    assert low < min(percents) < max(percents) < high <= 100
    assert ("logarithmic in the error" in axes.get_ylabel()) == (scale == "function")


def test_perfect_accuracy_has_a_place() -> None:
    """100 % is at a finite height on an axis that is logarithmic in the error."""
    _, (axes,) = panels(1, 1, (4, 3))
    frame_accuracies(axes, [Estimate(1.0, 1.0, 1.0, 3), Estimate(0.3, 0.3, 0.3, 3)])
    assert axes.get_ylim()[1] == 100
    assert axes.get_yscale() == "function"


def test_points_have_their_names() -> None:
    """What a cell has other than the baseline stands beside its point, in both panels."""
    figure = spiking.accuracy_against_cost(spiking_study())
    assert texts(figure) == texts(figure, 1) == ["T=4", "baseline", "T=16"]


def test_many_points_have_numbers() -> None:
    """Those of the table of cells, where names would be too many; only those on a front, and none covers another."""
    cells = [{"time_steps": steps, "a": a} for steps in range(1, 9) for a in range(4)]
    runs = [
        replace(spiking_run(0, seed, 0.5 + 0.01 * (i % 16), 1000.0 + 50 * i), levels=cell, identity=f"{i} {seed}")
        for i, cell in enumerate(cells)
        for seed in range(2)
    ]
    study = study_of("full_factorial", {"time_steps": list(range(1, 9)), "a": list(range(4))}, runs)
    summary = summarise(study, runs)
    assert are_numbered(summary)
    (table,) = results_tables(summary)
    numbers = {row.cells[0]: row.cells[-1] for row in table.rows}
    found = texts(spiking.accuracy_against_cost(summary))
    assert found
    assert all(numbers[number] != "–" for number in found)


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """All texts that are shown, with where they are in pixels."""
    figure.draw_without_rendering()
    found = [text for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
            found += [label for place, label in ticks if low <= place <= high]
        found += [axes.title, axes.xaxis.label, axes.yaxis.label]
    return [(one.get_text(), one.get_window_extent()) for one in found if one.get_visible() and one.get_text()]


@pytest.mark.parametrize("width", ["figure", "narrow"])
def test_no_text_covers_another(width: str) -> None:
    """Neither on a page nor on a phone, whether on axes or beside points; rotated texts lie in larger boxes than they need."""
    for drawn in figures_of_many_cells():
        figure = getattr(drawn, width)
        assert figure is not None
        if drawn.title == "Sparsity by layer":
            continue
        found = boxes(figure)
        touching = [
            (one, other)
            for i, (one, box) in enumerate(found)
            for other, another in found[:i]
            if (common := Bbox.intersection(box, another)) and min(common.width, common.height) > 1
        ]
        assert touching == [], drawn.title


@cache
def figures_of_many_cells() -> list[CaptionedFigure]:
    return all_figures(many_cells())


def many_cells() -> Summary:
    """Eight cells around a baseline with names as long as those of layouts, some of which lie on each other."""
    levels = [f"64 64 {pool} 128 {pool} 256 512 {other}" for pool in "MAS" for other in ("M", "A")]
    cells: list[dict[str, Level]] = [{"layout": levels[0], "time_steps": 8}]
    cells += [{"layout": level, "time_steps": 8} for level in levels[1:]]
    cells += [{"layout": levels[0], "time_steps": steps} for steps in (2, 16)]
    runs = []
    for i, cell in enumerate(cells):
        for seed in range(3):
            run = spiking_run(8, seed, 0.9 + 0.01 * (i % 4), 1000.0 * (1 + i // 2))
            runs.append(replace(run, levels=cell, identity=f"{i} {seed}"))
    return summarise(study_of("one_factor_at_a_time", {"layout": levels, "time_steps": [8, 2, 16]}, runs), runs)


def test_panels_stack_on_a_phone() -> None:
    """Each figure has a form of one column, which a phone shows without scrolling."""
    for drawn in figures_of_many_cells():
        assert drawn.narrow is not None
        assert drawn.narrow.get_figwidth() * style.NARROWEST * 96 <= 390, drawn.title
        assert len({round(axes.get_position().x0, 2) for axes in drawn.narrow.axes}) == 1


def test_the_heat_map_says_its_numbers() -> None:
    """A number in every cell, a dash where there is none; what is published stands below what was measured."""
    figure = spiking.sparsity_by_layer(summary_of(BITNET))
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["baseline", "a = 1", "published: BITnet6", "published: BITnet6 Max"]
    numbers = texts(figure)
    assert numbers[:7] == ["80.0"] * 6 + ["90.0"]
    assert numbers[-7:] == ["93.7", "94.9", "97.7", "94.3", "98.9", "90.8", "–"]


def test_numbers_stand_out_from_their_cells() -> None:
    """Black or white, whichever has the higher contrast: 4.5 to 1 or more."""
    assert to_hex(spiking._readable_on(np.array([0.0, 0.13, 0.3, 1.0]))) == "#ffffff"
    assert to_hex(spiking._readable_on(np.array([0.5, 0.5, 0.5, 1.0]))) == "#000000"
