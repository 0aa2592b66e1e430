"""``spikesweep check``: is a study valid, what does it train, what does that cost, and what can it find out?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    JsonOption,
    NumCpusOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    out,
    print_json,
    problems_exit_2,
)

if TYPE_CHECKING:
    from studies.commands.forecast import Forecast
    from studies.engine.definition.study import Study

POWER = 0.8
FEWEST_FOR_ONE_CONTRAST = 6
GIB = 2**30
MEASURED = "measured on the runs of this study so far"


def check(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    num_cpus: NumCpusOption = None,
    timing: Annotated[
        bool,
        typer.Option(help="Time a few training steps to predict how long the study takes (default: yes).", show_default=False),
    ] = True,
    full: Annotated[bool, typer.Option("--full", help="Show every field of the config, and every cell.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a study and predict its cost; nothing is trained.

    Lists every problem of the file with its place, the rule, the value and a repair. Of a valid study it shows what the study
    sets other than the trainable's defaults, the cells that will be trained, the time and memory that they take on this
    machine, and the smallest effect that the design can detect. Writes nothing.

    With --json: name, question, trainables, design, factors, config, notes, num_cells, seeds, num_replicates, num_parents,
    num_parents_trained, cells, cells_are_a_sample, forecast, sensitivity, warnings.

    Exit codes: 0 the study is valid, 2 it is not.

    Example: spikesweep check quickstart --set seeds=12
    """
    from studies.commands.check_page import as_data, page
    from studies.commands.forecast import forecast
    from studies.engine.execution.preflight import open_study
    from studies.engine.proposing.warm_start import read_warm_start

    with problems_exit_2():
        loaded = open_study(study, all_overrides(overrides, storage, tracking_uri))
        warm = read_warm_start(loaded)
    predicted = forecast(loaded, num_cpus) if timing else None
    if as_json:
        print_json(as_data(loaded, predicted, warm))
    else:
        out.print(page(loaded, predicted, warm, width=out.width, full=full))


@dataclass(frozen=True)
class Sensitivity:
    """What a design can find out.

    Attributes:
        num_contrasts: How many levels are compared with their baseline.
        fewest_seeds: The fewest with which one of them can be significant after correction.
        sd_of_differences: The standard deviation of a difference paired by seed, as a fraction; None if nothing is known.
        source: Where it comes from.
        smallest_effect: The smallest difference in accuracy found with 80 % power, in units of the standard deviation of
            paired differences where that is not known; None if no difference can be.
    """

    num_contrasts: int
    fewest_seeds: int
    sd_of_differences: float | None
    source: str
    smallest_effect: float | None


def sensitivity(study: "Study") -> Sensitivity | None:
    """The smallest effect on accuracy that a design which compares can detect; None for one that does not."""
    from analysis.statistics.data.level_cells import FACTORIAL
    from analysis.statistics.effects.contrasts import fewest_seeds
    from analysis.statistics.effects.power import smallest_effect

    if not study.baseline:
        return None
    domains = [factor.domain for factor in study.space.factors]
    num_contrasts = sum((domain.num_values() or 1) - 1 for domain in domains)
    sd, source = _sd_of_differences(study)
    averaged = 1
    if study.design in FACTORIAL and source != MEASURED:  # what is measured is of averages already
        most_levels = max(domain.num_values() or 1 for domain in domains)
        averaged = max(1, len(study.cells) // most_levels)
    effect = smallest_effect(len(study.seeds), num_contrasts, sd or 1.0, power=POWER, num_cells_averaged=averaged)
    return Sensitivity(num_contrasts, fewest_seeds(num_contrasts), sd, source, effect)


def _sd_of_differences(study: "Study") -> tuple[float | None, str]:
    from analysis.records.loading import NoStudyError, load_recorded_study
    from analysis.statistics.data.level_cells import level_cells
    from analysis.statistics.effects.level_effects import paired_differences
    from analysis.statistics.effects.power import pooled_difference_sd, sd_of_differences
    from studies.run_record import ACCURACY

    if study.content.seed_sd is not None:
        return sd_of_differences(study.content.seed_sd), f"seed_sd {study.content.seed_sd:g}, as the study file states"
    try:
        recorded = load_recorded_study(study.stores.name, study.stores.tracking_uri)
    except NoStudyError:
        return None, "not known"
    measured = pooled_difference_sd(paired_differences(level_cells(recorded.study, recorded.runs), ACCURACY))
    return measured, MEASURED if measured is not None else "not known"


def warnings(study: "Study", forecast: "Forecast | None", found: Sensitivity | None) -> Sequence[str]:
    """What a person should know before starting it."""
    said = []
    if found and len(study.seeds) < found.fewest_seeds:
        said.append(
            f"{len(study.seeds)} seeds are too few for any significance after correction for {found.num_contrasts} contrasts; "
            f"{found.fewest_seeds} seeds can give it (a single contrast needs {FEWEST_FOR_ONE_CONTRAST})"
        )
    if forecast and not forecast.fits:
        said.append(
            f"{forecast.at_once} replicates at once may need {forecast.at_once * forecast.memory_bytes / GIB:.1f} GiB, and this "
            f"machine has {forecast.available_bytes / GIB:.1f}: raise resources.cpus, or lower --num-cpus"
        )
    return said
