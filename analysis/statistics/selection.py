"""Which epoch's weights were the result, what another choice would have given, and how long training was where it had seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.statistics.data.cells import estimate, finite_values, group_by_levels
from analysis.statistics.data.estimates import SHARES, Estimate
from studies.run_record import (
    COMPARED_ROLES,
    PARENT_EPOCHS,
    PARENT_TIME_BUDGET,
    SELECTED_ON_TEST,
    SELECTION,
    TEST_ACCURACY,
    TIME_BUDGET,
    TIME_EPOCHS,
    Level,
    RunRecord,
)

SELECTED_EPOCH = "selection/epoch"
LAST_TEST = "selection/last_test_accuracy"
BEST_ON_VALIDATION_TEST = "selection/best_on_validation_test_accuracy"


@dataclass(frozen=True)
class SelectedCell:
    """The finished replicates of a cell whose result is a selected epoch; accuracies are of the test images, over seeds.

    Attributes:
        levels: The cell's.
        how: best_on_validation or best_on_test.
        epochs: The first and the last that was selected.
        accuracy: Of the selected epoch.
        over_last: By how much it is above that of the last epoch, paired by seed.
        over_validation: By how much it is above that of the epoch that is best on the validation images; None unless the test
            images selected.
    """

    levels: Mapping[str, Level]
    how: str
    epochs: tuple[int, int]
    accuracy: Estimate | None
    over_last: Estimate | None
    over_validation: Estimate | None


def selected_cells(runs: Sequence[RunRecord]) -> list[SelectedCell]:
    """Every cell, or finalist, with replicates whose epoch was selected among several."""
    found = []
    for cell in group_by_levels(run for run in runs if run.role in COMPARED_ROLES and SELECTED_EPOCH in run.metrics).values():
        epochs = [int(run.metrics[SELECTED_EPOCH]) for run in cell]
        accuracies = finite_values(cell, TEST_ACCURACY)
        if accuracies:
            found.append(
                SelectedCell(
                    levels=cell[0].levels,
                    how=cell[0].facts.get(SELECTION, "").partition(",")[0],
                    epochs=(min(epochs), max(epochs)),
                    accuracy=estimate(accuracies, SHARES),
                    over_last=_over(accuracies, finite_values(cell, LAST_TEST)),
                    over_validation=_over(accuracies, finite_values(cell, BEST_ON_VALIDATION_TEST)),
                )
            )
    return found


def _over(values: Mapping[int, float], others: Mapping[int, float]) -> Estimate | None:
    return estimate({seed: value - others[seed] for seed, value in values.items() if seed in others})


def is_selected_on_test(run: RunRecord) -> bool:
    """Whether the test images chose the epoch of a replicate, or of the network that it starts from."""
    return SELECTED_ON_TEST in run.facts.get(SELECTION, "")


def selection_warnings(runs: Sequence[RunRecord]) -> list[str]:
    """A sentence where the test images have selected, and one where training lasted for seconds."""
    begun = [run for run in runs if run.run_id]
    found = []
    if num := sum(map(is_selected_on_test, begun)):
        found.append(
            f"The epochs of {num} of {len(begun)} replicates were {SELECTED_ON_TEST}. Their accuracies are higher than new "
            "images would give."
        )
    if any(map(is_timed, begun)):
        found.append(
            f"{lengths_in_words(begun)}: differences are at equal time on the machine that was used, not at equal epochs, and "
            "another machine, or other work on it, gives others."
        )
    return found


def is_timed(run: RunRecord) -> bool:
    """Whether a replicate, or the network that it starts from, was trained for a number of seconds."""
    return TIME_BUDGET in run.facts or PARENT_TIME_BUDGET in run.facts


def lengths_in_words(runs: Sequence[RunRecord]) -> str:
    """How long those replicates, or their source networks, were trained that had seconds: ``Trained for 600 s, 5.2 epochs``."""
    finished = [run for run in runs if run.status == "FINISHED"]
    own = [run.metrics[TIME_EPOCHS] for run in finished if TIME_EPOCHS in run.metrics]
    of_sources = [float(run.facts[PARENT_EPOCHS]) for run in finished if PARENT_EPOCHS in run.facts]
    texts = [
        _length("trained for", runs, TIME_BUDGET, own),
        _length("source networks trained for", runs, PARENT_TIME_BUDGET, of_sources),
    ]
    words = "; ".join(filter(None, texts))
    return words[:1].upper() + words[1:]


def _length(verb: str, runs: Sequence[RunRecord], fact: str, epochs: Sequence[float]) -> str:
    """Empty where no run has the fact."""
    seconds = sorted({run.facts[fact].removeprefix("trained for ") for run in runs if fact in run.facts}, key=len)
    ends = list(dict.fromkeys(f"{number:.3g}" for number in (min(epochs), max(epochs)))) if epochs else []
    return f"{verb} {' or '.join(seconds)}" + (f", {' to '.join(ends)} epochs" if ends else "") if seconds else ""
