"""The style of all figures, and their export: inline SVG for the page, SVG, PDF and PNG files.

A figure is drawn in one set of colours. The page has its own of the same hues for light and dark (custom properties of the
template's style), so that lines keep 3:1 and texts 4.5:1 against either paper; files have a white one.
"""

import html
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from analysis.reporting.document_model import CaptionedFigure, Width, slug
from analysis.statistics.data.cell_by_seed import FloatArray
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import Outcome
from studies.label_texts import TEX
from studies.plain_text import visible

OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Safe for colour-blind readers (Okabe and Ito 2008); the page's properties --hue-0 … --hue-5 stand for them."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", ":", "-.")
INK = "#010203"
"""Texts and axes; on the page the page's own text colour."""
PAPER = "#ffffff"
PNG_DPI = 200
POINTS_PER_INCH = 72
NEARLY_RIGHT, ERRORS_FOR_LOG = 85, 6
"""Percent, and the largest over the smallest error, from which on an axis of accuracies is logarithmic in the error."""
LEAST_ERROR = 0.3
"""Percent that such an axis adds to every error, so that 100 % has a place."""
ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 100)
MOST_FINELY_TICKED = 300
NARROWEST = 0.85
"""Of its size, which the page keeps a figure at: the smallest texts, of 9 points, are then 10.2 pixels. What is wider than a
phone scrolls."""

STYLE: Any = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 11,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "font.size": 10,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.08,  # inches: a white file on a dark page needs a margin
    "figure.constrained_layout.h_pad": 0.08,
    "svg.hashsalt": "spikesweep",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
}
NARROW = 4.2
"""The width in inches of a panel on a phone."""
MOST_COVERED = 0.5
"""Of a label that is written beside a point."""
GAP = 3.0
"""Pixels between two labels of an axis, at the least."""

Draw = Callable[[Width], Figure | None]
"""Draws a figure for a page or for a phone; None where there is nothing to draw."""


def captioned(*figures: tuple[str, str, Draw]) -> list[CaptionedFigure]:
    """Of titles, captions and what draws the figures, those that have something to draw."""
    found = []
    for title, caption, draw in figures:
        figure = draw("wide")
        if figure is not None:
            narrow = draw("narrow")
            for drawn in (figure, narrow):
                keep_labels_apart(drawn) if drawn else None
            found.append(CaptionedFigure(title, caption, figure, narrow))
    return found


def keep_labels_apart(figure: Figure) -> None:
    """Leave out the labels of an axis that would touch the one before."""
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        for axes in figure.axes:
            if axes.get_visible():
                _keep_apart(axes.xaxis, lambda box: (box.x0, box.x1))
                _keep_apart(axes.yaxis, lambda box: (box.y0, box.y1))


def _keep_apart(axis: Axis, extent: Callable[[Bbox], tuple[float, float]]) -> None:
    low, high = sorted(axis.get_view_interval())
    places = [float(place) for place in axis.get_majorticklocs()]
    labels = axis.get_majorticklabels()
    shown = [
        (extent(label.get_window_extent()), place, label.get_text())
        for place, label in zip(places, labels, strict=False)
        if low <= place <= high and label.get_visible() and label.get_text() and not label.get_rotation()
    ]
    shown.sort()
    kept: list[tuple[tuple[float, float], float, str]] = []
    for one in shown:
        if not kept or one[0][0] >= kept[-1][0][1] + GAP:
            kept.append(one)
    if len(kept) < len(shown):
        axis.set_ticks([place for _, place, _ in kept], [text for _, _, text in kept])


def label_points(axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], **style: Any) -> None:
    """Write a label beside each point, where it covers no other label, no point and no line as far as there is room.

    Call it when the figure is complete but for these. An empty label is left out, and one for which there is no room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame = axes.get_window_extent()
    marks = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in (axes.transData.transform(point) for point in points)]
    marks += [Bbox.from_bounds(x - 1.5, y - 1.5, 3, 3) for line in axes.lines for x, y in _along(line)]
    written: list[Bbox] = []
    for point, label in zip(points, labels, strict=True):
        if not label:
            continue
        text = axes.annotate(label, point, xytext=(0, 0), textcoords="offset points", fontsize=9, in_layout=False, **style)
        tried = [(_covered(_moved(text, place), [*written, *marks], frame), i, place) for i, place in enumerate(_BESIDE)]
        covered, _, place = min(tried)
        box = _moved(text, place)
        if covered > MOST_COVERED * box.width * box.height:
            text.remove()
        else:
            written.append(box)


def _along(line: Line2D) -> FloatArray:
    """Points on a line, three pixels apart."""
    corners = np.asarray(line.get_xydata(), dtype=np.float64)
    if line.get_drawstyle() == "steps-post" and len(corners) > 1:
        turns = np.column_stack([corners[1:, 0], corners[:-1, 1]])
        corners = np.vstack([corners[:1], np.stack([turns, corners[1:]], axis=1).reshape(-1, 2)])
    places = line.get_transform().transform(corners)
    places = places[np.isfinite(places).all(axis=1)]
    if len(places) < 2:
        return np.empty((0, 2))
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    at = np.arange(0.0, lengths[-1], 3.0)
    return np.column_stack([np.interp(at, lengths, places[:, 0]), np.interp(at, lengths, places[:, 1])])


Place = tuple[float, float, Any, Any]
_BESIDE: Sequence[Place] = [
    (7, 0, "left", "center"),
    (0, 7, "center", "bottom"),
    (0, -7, "center", "top"),
    (-7, 0, "right", "center"),
    (5, 5, "left", "bottom"),
    (5, -5, "left", "top"),
    (-5, 5, "right", "bottom"),
    (-5, -5, "right", "top"),
    (0, 18, "center", "bottom"),
    (0, -18, "center", "top"),
    (16, 12, "left", "bottom"),
    (16, -12, "left", "top"),
    (-16, 12, "right", "bottom"),
    (-16, -12, "right", "top"),
]
"""Where a label may stand: points to the right and upwards from what it labels, and which of its edges is there."""


def _moved(text: Text, place: Place) -> Bbox:
    """Where a label is, in pixels, once it stands at a place."""
    x, y, across, up = place
    text.set_position((x, y))
    text.set_horizontalalignment(across)
    text.set_verticalalignment(up)
    return text.get_window_extent()


def _covered(box: Bbox, others: Sequence[Bbox], frame: Bbox) -> float:
    """How much of a label covers others, or stands outside of the axes, in square pixels."""
    common = [Bbox.intersection(box, other) for other in others]
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
    return sum(one.width * one.height for one in common if one) + 2 * outside


def line_style(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the i-th line; 24 lines in a row are different."""
    num = len(OKABE_ITO)
    turn = i // num
    return {
        "color": OKABE_ITO[i % num],
        "marker": MARKERS[(i + turn) % len(MARKERS)],
        "linestyle": DASHES[turn % len(DASHES)],
    }


def panels(
    num: int, most_in_a_row: int, size: tuple[float, float], width: Width = "wide", **sharing: Any
) -> tuple[Figure, Sequence[Axes]]:
    """A figure with ``num`` axes of this size in inches, in rows; places that are left over in the last row stay empty.

    Where the figure is narrow, the axes stand below each other, no wider than a phone. Call it, and draw, inside
    ``matplotlib.rc_context(STYLE)``.
    """
    if width == "narrow":
        most_in_a_row, size = 1, (min(size[0], NARROW), size[1])
    num_columns = min(num, most_in_a_row)
    num_rows = -(-num // num_columns)
    figure = Figure(figsize=(size[0] * num_columns, size[1] * num_rows), layout="constrained")
    found: list[Axes] = list(figure.subplots(num_rows, num_columns, squeeze=False, **sharing).flat)
    for spare in found[num:]:
        spare.set_visible(False)
    return figure, found[:num]


def frame_accuracies(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """Limits, ticks and label of a vertical axis of validation accuracies.

    Where some are nearly right and others far from it, the axis is logarithmic in the error: between 95 and 96 % there is more
    to see than between 35 and 36 %. All means have a place, and their intervals as far as most of them reach: those of two or
    three seeds may be wider than all the rest.
    """
    shown = [100 * estimate.mean for estimate in estimates]
    halves = [100 * estimate.half_width for estimate in estimates if np.isfinite(estimate.low)]
    spread = max(shown) - min(shown)
    room = 0.5 + 0.06 * spread + min(float(np.quantile(halves, 0.8)) if halves else 0.0, spread)
    low, high = max(0.0, min(shown) - room), min(100.0, max(shown) + room)
    if max(shown) >= NEARLY_RIGHT and 100 - min(shown) > ERRORS_FOR_LOG * (100 - max(shown)):
        axes.set_yscale("function", functions=(_accuracy_to_height, _height_to_accuracy))
        low, high = max(0.0, 100 - 1.3 * (100 - min(shown))), 100 - 0.75 * (100 - max(shown))
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in ACCURACY_TICKS if low <= tick <= high]))
        axes.set_ylabel("validation accuracy (%)\nlogarithmic in the error")
    else:
        axes.set_ylabel("validation accuracy (%)")
    axes.set_ylim(low, high)


def _accuracy_to_height(percent: Any) -> Any:
    return -np.log10(np.maximum(100 + LEAST_ERROR - np.asarray(percent), LEAST_ERROR / 10))


def _height_to_accuracy(height: Any) -> Any:
    return 100 + LEAST_ERROR - 10 ** -np.asarray(height)


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """Make a horizontal axis of positive numbers logarithmic, ticked at 1, 2, 5, 10, … (1, 10, … over three decades and more)."""
    axes.set_xscale("log")
    axes.set_xlim(low / 1.25, high * 1.25)
    subs = (1.0, 2.0, 5.0) if high < MOST_FINELY_TICKED * low else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_minor_formatter(NullFormatter())


def scale_of(outcome: Outcome) -> float:
    """The factor by which an outcome's values are shown: 100 for fractions, which are shown in percent, else 1."""
    return 100.0 if outcome.is_fraction else 1.0


def as_label(text: str) -> str:
    """A text as it stands in a figure: dollars begin no formula, and a line that begins with _ is not left out of a legend.

    The mathematics of labels is set as such.
    """
    text = re.sub(r"(?<!\\)\$", r"\\$", visible(text))
    text = re.sub(r"(?<!\\)\$\$", " ", "".join(f"${TEX[letter]}$" if letter in TEX else letter for letter in text))
    return f" {text}" if text.startswith("_") else text


def wrapped(label: str, width: int = 26) -> str:
    """A label broken into lines of at most ``width`` characters; longer words stay whole."""
    lines = textwrap.wrap(visible(label), width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(as_label, lines)) or as_label(label)


def svg(figure: Figure) -> str:
    """A whole SVG file on white, the same bytes for the same figure."""
    return _saved(figure, format="svg", facecolor=PAPER, metadata={"Date": None}).decode()


def inline_svg(figure: Figure, label: str, width: Width = "wide") -> str:
    """An SVG element for the page, in the page's own colours, with a label for screen readers, and names that no other has."""
    text = _saved(figure, format="svg", transparent=True, metadata={"Date": None}).decode()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for i, hue in enumerate(OKABE_ITO):
        text = text.replace(hue, f"var(--hue-{i}, {hue})")
    own = f"{slug(label)}-{width}-"
    text = re.sub(r'( id="|href="#|url\(#)', lambda found: found[0] + own, text)
    narrowest = NARROWEST * float(figure.get_figwidth()) * POINTS_PER_INCH
    return text.replace(
        "<svg", f'<svg role="img" aria-label="{html.escape(label)}" style="min-width: min({narrowest:.0f}pt, 100rem)"', 1
    )


def pdf(figure: Figure) -> bytes:
    """A PDF file for a paper, the same bytes for the same figure; its texts are texts."""
    return _saved(figure, format="pdf", transparent=True, metadata={"CreationDate": None})


def png(figure: Figure) -> bytes:
    """A PNG file on white, 200 pixels to the inch."""
    return _saved(figure, format="png", facecolor=PAPER, dpi=PNG_DPI)


def _saved(figure: Figure, **how: Any) -> bytes:
    out = io.BytesIO()
    with mpl.rc_context(STYLE):  # ticks are made when it is drawn
        figure.savefig(out, **how)
    return out.getvalue()
