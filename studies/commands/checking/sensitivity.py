"""What a design can find out: the smallest effect that it detects, by the spread that is stated or was measured."""

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.loading import NoStudyError, load_recorded_study
from analysis.statistics.data.level_cells import FACTORIAL, level_cells
from analysis.statistics.data.outcomes import NAMES, Outcome
from analysis.statistics.effects.contrasts import fewest_seeds
from analysis.statistics.effects.level_effects import level_effects
from analysis.statistics.effects.power import sd_of_differences, smallest_effect
from search_spaces.language.space import Level
from studies.commands.options import counted
from studies.engine.definition.study import Study
from trainables.training.configs import identity_field_names

POWER = 0.8
FEWEST_FOR_ONE_CONTRAST = 6
MEASURED = "measured on the runs of this study so far"


@dataclass(frozen=True)
class ContrastSensitivity:
    """What a design can find out of one level: by the measured spread of its differences, the smallest effect; None if none."""

    factor: str
    level: Level
    sd_of_differences: float
    smallest_effect: float | None


@dataclass(frozen=True)
class Sensitivity:
    """What a design can find out.

    Attributes:
        num_contrasts: How many levels are compared with their baseline.
        fewest_seeds: The fewest with which one of them can be significant after correction.
        outcome: What the levels are compared on: the study's primary outcome.
        sd_of_differences: The standard deviation of a difference paired by seed, in the unit of the outcome, of counts and costs
            that of the difference of logarithms; where it was measured, the median over the contrasts; None if nothing is known.
        source: Where it comes from.
        smallest_effect: The smallest difference found with 80 % power, in the unit of ``sd_of_differences``, or in such standard
            deviations where that is not known; None if no difference can be.
        by_contrast: The same for every contrast by its own spread, where that was measured.
    """

    num_contrasts: int
    fewest_seeds: int
    outcome: Outcome
    sd_of_differences: float | None
    source: str
    smallest_effect: float | None
    by_contrast: Sequence[ContrastSensitivity] = ()


def sensitivity(study: Study) -> Sensitivity | None:
    """The smallest effect on the primary outcome that a design which compares can detect; None for one that does not."""
    if not study.baseline:
        return None
    domains = [factor.domain for factor in study.space.factors]
    num_contrasts = sum((domain.num_values() or 1) - 1 for domain in domains)
    fewest, averaged = fewest_seeds(num_contrasts), 1
    metric, direction = next(iter(study.objectives.items()))
    outcome = Outcome(metric, NAMES.get(metric, metric), direction)
    seed_sd = study.content.seed_sd if outcome.is_accuracy else None

    def smallest(sd: float) -> float | None:
        return smallest_effect(len(study.seeds), num_contrasts, sd, power=POWER, num_cells_averaged=averaged)

    if seed_sd is None and (measured := _measured(study, outcome)):
        sds, source = measured  # of averages over cells already, where the design averages
        by_contrast = [ContrastSensitivity(*contrast, sd, smallest(sd)) for contrast, sd in sds.items()]
        sd = statistics.median(sds.values())
        return Sensitivity(num_contrasts, fewest, outcome, sd, source, smallest(sd), by_contrast)
    if study.design in FACTORIAL:
        averaged = max(1, len(study.cells) // max(domain.num_values() or 1 for domain in domains))
    if seed_sd is None:
        return Sensitivity(num_contrasts, fewest, outcome, None, "not known", smallest(1.0))
    sd, source = sd_of_differences(seed_sd), f"seed_sd {seed_sd:g}, as the study file states"
    return Sensitivity(num_contrasts, fewest, outcome, sd, source, smallest(sd))


def _measured(study: Study, outcome: Outcome) -> tuple[dict[tuple[str, Level], float], str] | None:
    """By factor and level the standard deviation of the differences from the baseline in the runs so far, and where it is from.

    None where no level of the study has two differences that differ.
    """
    try:
        recorded = load_recorded_study(study.stores.name, study.stores.tracking_uri)
    except NoStudyError:
        return None
    domains = {factor.name: factor.domain for factor in study.space.factors}
    sds = {
        (effect.factor, effect.level): effect.contrast.spread if outcome.is_ratio else effect.contrast.sd
        for effect in level_effects(level_cells(recorded.study, recorded.runs), outcome)
        if effect.contrast and effect.contrast.spread > 0 and (not outcome.is_ratio or effect.contrast.scale == outcome.scale)
        if effect.factor in domains and domains[effect.factor].position(effect.level) is not None
    }
    differing = _settings_that_differed(study, [run.config for run in recorded.runs if run.config and run.status == "FINISHED"])
    return (sds, MEASURED + (f", which had {', '.join(differing)}" if differing else "")) if sds else None


def _settings_that_differed(study: Study, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of finished runs, as ``name: value``, that no run of the study would have now; factors are left out."""
    now = study.binder.configuration(study.baseline).config
    tuning = study.content.tuning
    varied = {factor.name for factor in study.space.factors} | {*(tuning.parameters if tuning else ())}
    names = identity_field_names(type(now)) - varied
    found: dict[str, set[str]] = defaultdict(set)
    for config in configs:
        for name in names & config.keys():
            if config[name] != getattr(now, name):
                found[name].add(json.dumps(config[name]))
    return [f"{name}: {' or '.join(sorted(values))}" for name, values in sorted(found.items())]


def seeds_warnings(study: Study, found: Sensitivity | None) -> list[str]:
    """That there are too few seeds for any verdict, where that is so."""
    num = len(study.seeds)
    if found is None or num >= found.fewest_seeds:
        return []
    return [
        f"{counted(num, 'seed')} {'is' if num == 1 else 'are'} too few for any significance after correction for "
        f"{counted(found.num_contrasts, 'contrast')}; {found.fewest_seeds} seeds can give it (a single contrast needs "
        f"{FEWEST_FOR_ONE_CONTRAST})"
    ]
