"""What ``spikesweep check`` says of a study: what it trains, what it costs, and what it can find out.

Beside the command line this is the one place that knows both the engine and the analysis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.records.loading import NoStudyError, load_recorded_study
from analysis.statistics.data.level_cells import FACTORIAL, level_cells
from analysis.statistics.effects.contrasts import fewest_seeds
from analysis.statistics.effects.level_effects import paired_differences
from analysis.statistics.effects.power import pooled_difference_sd, sd_of_differences, smallest_effect
from studies.commands.forecast import ConfigurationForecast, Forecast, num_planned
from studies.engine.definition.study import Study, domain_in_words
from studies.engine.execution.progress import clock
from studies.engine.execution.runner import num_trained_parents
from studies.engine.proposing.adaptive_search import WarmStart
from studies.run_record import ACCURACY, level_in_words, levels_in_words

MOST_CELLS_SHOWN = 30
NUM_IN_FULL = 2
POWER = 0.8
FEWEST_FOR_ONE_CONTRAST = 6
GIB = 2**30
MEASURED = "measured on the runs of this study so far"


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


def sensitivity(study: Study) -> Sensitivity | None:
    """The smallest effect on accuracy that a design which compares can detect; None for one that does not."""
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


def _sd_of_differences(study: Study) -> tuple[float | None, str]:
    if study.content.seed_sd is not None:
        return sd_of_differences(study.content.seed_sd), f"seed_sd {study.content.seed_sd:g}, as the study file states"
    try:
        recorded = load_recorded_study(study.stores.name, study.stores.tracking_uri)
    except NoStudyError:
        return None, "not known"
    measured = pooled_difference_sd(paired_differences(level_cells(recorded.study, recorded.runs), ACCURACY))
    return measured, MEASURED if measured is not None else "not known"


def as_data(study: Study, forecast: Forecast | None, warm: WarmStart) -> dict[str, Any]:
    """All of it, for a script."""
    found = sensitivity(study)
    return {
        "name": study.stores.name,
        "question": study.question,
        "trainables": study.trainables,
        "design": study.design,
        "factors": {factor.name: domain_in_words(factor) for factor in study.space.factors},
        "notes": [*study.notes, *_warm_in_words(warm)],
        "num_cells": len(study.cells),
        "seeds": study.seeds,
        "num_replicates": num_planned(study),
        "num_parents": forecast.num_parents if forecast else len(study.parents),
        "num_parents_trained": num_trained_parents(study),
        "cells": _cells_data(study, forecast),
        "cells_are_a_sample": bool(forecast and forecast.sampled),
        "forecast": _forecast_data(forecast) if forecast else None,
        "sensitivity": vars(found) if found else None,
        "fewest_seeds_for_significance": found.fewest_seeds if found else None,
        "warnings": list(warnings(study, forecast, found)),
    }


def _cells_data(study: Study, forecast: Forecast | None) -> list[dict[str, Any]]:
    if forecast:
        return [_configuration_data(each) for each in forecast.configurations]
    bound = [(cell, study.binder.configuration(cell)) for cell in study.cells]
    return [{"levels": cell, "trainable": each.trainable, **vars(each.footprint)} for cell, each in bound]


def _configuration_data(each: ConfigurationForecast) -> dict[str, Any]:
    return {"levels": each.levels, "trainable": each.trainable, **vars(each.footprint), "seconds": each.seconds}


def _forecast_data(forecast: Forecast) -> dict[str, Any]:
    data = {name: value for name, value in vars(forecast).items() if name not in ("configurations", "sampled")}
    return {**data, "fits": forecast.fits}


def warnings(study: Study, forecast: Forecast | None, found: Sensitivity | None) -> Sequence[str]:
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


def page(study: Study, forecast: Forecast | None, warm: WarmStart) -> Group:
    """All of it, for a person."""
    num = num_planned(study)
    parts: list[Any] = [Text(f"{study.stores.name}: {study.question}", "bold")]
    parts.append(
        Text(f"{', '.join(study.trainables)}; {study.design.replace('_', ' ')}: {_size_in_words(study)} = {num:,} replicates")
    )
    parts += [Text(f"  {factor.name}: {domain_in_words(factor)}") for factor in study.space.factors]
    if study.tuning:
        tuned = [f"{factor.name} ({domain_in_words(factor)})" for factor in study.tuning.space.factors]
        parts.append(Text(f"tuned in every cell, with seed {study.tuning.seed}: {', '.join(tuned)}"))
    parts += [Text(note) for note in (*study.notes, *_warm_in_words(warm))]
    parts += [Text(f"constraint: {constraint}") for constraint in study.content.constraints]
    if parents := parents_in_words(study, forecast):
        parts.append(Text(parents))
    parts += [Text(), _cells_table(study, forecast), *_in_full(study), Text()]
    if forecast:
        parts.append(Text(_forecast_in_words(forecast)))
    found = sensitivity(study)
    if found:
        parts.append(Text(_sensitivity_in_words(study, found)))
    parts += [Text(f"warning: {warning}", "yellow") for warning in warnings(study, forecast, found)]
    return Group(*parts, Text("The study is valid."))


def parents_in_words(study: Study, forecast: Forecast | None = None) -> str:
    """How many parents there are to train, e.g. ``3 parents (ann) to train, 1 already trained``; nothing if there are none."""
    num = len(study.parents) or (forecast.num_parents if forecast else 0)
    if not num:
        return ""
    num_trained = num_trained_parents(study)
    kinds = ", ".join(sorted({parent.trainable for parent in study.parents})) or "ann"
    counts = [f"{num - num_trained} parents ({kinds}) to train" if study.parents else f"up to {num:,} parents to train"]
    return ", ".join([*counts, *([f"{num_trained} already trained"] if num_trained else [])])


def _warm_in_words(warm: WarmStart) -> list[str]:
    num = len(warm.configurations)
    return [*([f"The search will begin with {num} configurations of earlier studies."] if num else []), *warm.notes]


def _size_in_words(study: Study) -> str:
    num_seeds = len(study.seeds)
    if study.search:
        words = f"{study.search.num_trials:,} trials × {study.search.seeds_per_trial} seeds by {study.search.sampler['name']}"
        others = num_seeds - study.search.seeds_per_trial
        return f"{words} + {study.search.finalists} finalists × {others} seeds" if study.search.finalists else words
    words = f"{len(study.cells):,} cells × {num_seeds} seeds"
    return f"{words} + {len(study.cells):,} cells × {study.tuning.num_trials} tuning trials" if study.tuning else words


def _cells_table(study: Study, forecast: Forecast | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    sample = " (some that may be proposed)" if forecast and forecast.sampled else ""
    table.add_column(f"cell{sample}", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    if not forecast:
        for cell in study.cells[:MOST_CELLS_SHOWN]:
            table.add_row(levels_in_words(cell), f"{study.binder.configuration(cell).footprint.num_parameters:,}")
    else:
        for title in ("operations", "memory", "time"):
            table.add_column(title, justify="right", no_wrap=True)
        for each in forecast.configurations[:MOST_CELLS_SHOWN]:
            table.add_row(levels_in_words(each.levels), *_costs(each))
    num = len(forecast.configurations) if forecast else len(study.cells)
    if num > MOST_CELLS_SHOWN:
        table.add_row(f"… and {num - MOST_CELLS_SHOWN:,} more (--json has all)")
    return table


def _costs(each: ConfigurationForecast) -> list[str]:
    memory = f"{each.memory_bytes / 2**20:,.0f} MiB"
    return [f"{each.footprint.num_parameters:,}", f"{each.footprint.operations_per_image:.2g}", memory, f"{each.seconds:.1f} s"]


def _in_full(study: Study) -> list[Text]:
    """The first configurations with every field, so that a person can see what is trained."""
    lines = []
    for cell in study.cells[:NUM_IN_FULL]:
        configuration = study.binder.configuration(cell)
        fields = vars(configuration.config)
        lines.append(Text())
        lines.append(Text(f"{configuration.trainable}, {levels_in_words(cell)}, in full:", "dim"))
        lines.append(Text("  " + ", ".join(f"{name} {level_in_words(value)}" for name, value in fields.items()), "dim"))
    return lines


def _forecast_in_words(forecast: Forecast) -> str:
    at_most = "at most " if forecast.sampled and forecast.num_parents else "about "
    return (
        f"predicted: {at_most}{clock(forecast.wall_seconds)} on this machine, {forecast.at_once} at a time "
        f"({clock(forecast.replicate_seconds)} of training in all); up to {forecast.memory_bytes / GIB:.1f} GiB for each, "
        f"of {forecast.available_bytes / GIB:.1f} GiB here"
    )


def _sensitivity_in_words(study: Study, found: Sensitivity) -> str:
    if found.smallest_effect is None:
        return f"smallest effect it can detect: none, with {len(study.seeds)} seeds and {found.num_contrasts} contrasts"
    if found.sd_of_differences is None:
        return (
            f"smallest effect it can detect with 80 % power: {found.smallest_effect:.2f} standard deviations of a difference "
            "paired by seed (give seed_sd to have it in points)"
        )
    return f"smallest effect it can detect with 80 % power: {100 * found.smallest_effect:.2f} points of accuracy ({found.source})"
