"""Whether differences on the validation images hold on the test images, and would hold on other images of the same kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, estimate_column
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, TEST_OUTCOME, named
from analysis.statistics.effects.contrasts import Contrast
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, TEST_ACCURACY, StudyRecord

DECIDED = ("higher", "lower")
BOTH = "seeds and images"


@dataclass(frozen=True)
class _Level:
    """One level on the validation images, on the test images, and on others of either kind."""

    validation: LevelEffect
    test: LevelEffect | None
    other_validation: Estimate | None
    other_test: Estimate | None


def _levels(summary: Summary) -> Iterator[_Level]:
    effects = next((found for outcome, found in summary.effects.items() if outcome.metric == ACCURACY), [])
    tests: Sequence[LevelEffect | None] = summary.on_test or [None] * len(effects)
    nothing = [None] * len(effects)
    others = [summary.over_images.get(metric, nothing) for metric in (ACCURACY, TEST_ACCURACY)]
    for parts in zip(effects, tests, *others, strict=True):
        yield _Level(*parts)


def on_other_images(summary: Summary, factor: str, *, with_factor: bool = False) -> list[str]:
    """Where the test images say something else of a factor's levels than the validation images, and where other images might.

    ``with_factor``: levels have the name of their factor in front.
    """
    said = []
    for level in _levels(summary):
        validation, test, other = level.validation, level.test, level.other_validation
        if validation.factor != factor or validation.contrast is None:
            continue
        name = formatting.level_name(summary.study, factor, validation.level)
        if with_factor:
            name = f"{formatting.factor_name(summary.study, factor)} {name}"
        if test and test.contrast and test.verdict != validation.verdict and {test.verdict, validation.verdict} & {*DECIDED}:
            verdict = test.verdict if test.verdict in DECIDED else "undecided"
            said.append(f"on the test images {name} is {verdict} ({_in_points(test.contrast)})")
        if other and validation.verdict in DECIDED and other.low <= 0 <= other.high:
            low, high = (formatting.number(ACCURACY_OUTCOME, bound, "+") for bound in (other.low, other.high))
            said.append(f"on other images {name} may differ by {low} to {high} points")
    return said


def _in_points(contrast: Contrast) -> str:
    """The difference with its interval, where there is one, as in the sentences on validation images."""
    mean = f"{formatting.contrast_number(TEST_OUTCOME, contrast.difference.mean)} points"
    if not contrast.has_interval:
        return mean
    low, high = (formatting.contrast_number(TEST_OUTCOME, bound) for bound in (contrast.difference.low, contrast.difference.high))
    return f"{mean}, 95 % {low} to {high}"


def other_images_tables(summary: Summary) -> list[Table]:
    """A row for every level that has a contrast; no table where neither test images nor single images are recorded."""
    levels = [level for level in _levels(summary) if level.validation.contrast]
    if not (summary.on_test or summary.over_images):
        return []
    columns = [
        Column("factor", is_text=True, only="wide"),
        Column("level", is_text=True),
        Column("seeds"),
        estimate_column(named(summary.study, TEST_OUTCOME)),
        Column("difference, points (95 %)"),
        Column("corrected p", short_title="Holm p"),
        Column("verdict", is_text=True),
        Column(f"test difference, points (95 % over {BOTH})", only="wide"),
        Column(f"validation difference, points (95 % over {BOTH})", only="wide"),
    ]
    rows = list(_rows(summary.study, levels))
    return [Table("On the test images, and on other images", _caption(summary), columns, rows, is_detail=True)]


def _caption(summary: Summary) -> str:
    caption = (
        "Differences from the baseline on the test images, tested as those on the validation images are; p is corrected by Holm "
        "over this table. Intervals over seeds say what other seeds would give on these images."
    )
    if summary.over_images:
        caption += (
            f" Those over {BOTH} say what other seeds would give on other images of the same kind (crossed random effects of "
            "seeds and images, Satterthwaite's degrees of freedom)."
        )
    return caption if summary.primary.metric == TEST_ACCURACY else f"Exploratory. {caption}"


def _rows(study: StudyRecord, levels: Sequence[_Level]) -> Iterator[Row]:
    last = ""
    for level in levels:
        validation, contrast = level.validation, level.test.contrast if level.test else None
        where = formatting.factor_in_cell(study, validation.factor, validation.in_cell)
        tested = [formatting.NONE] * 5
        if level.test and contrast:
            tested = [
                formatting.seeds(level.test.num_finished, level.test.num_planned),
                formatting.value(TEST_OUTCOME, level.test.estimate),
                formatting.contrast(TEST_OUTCOME, contrast.difference),
                formatting.p_value(contrast.corrected_p),
                formatting.verdict_in_words(level.test.verdict),
            ]
        others = [
            formatting.difference(ACCURACY_OUTCOME, other) if other else formatting.NONE
            for other in (level.other_test, level.other_validation)
        ]
        name = formatting.level_name(study, validation.factor, validation.level)
        yield Row([where, name, *tested, *others], "" if where == last else "first", group=where)
        last = where
