"""What ``spikesweep check`` shows of a valid study, as a page for a person and as data for a script."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from analysis.reporting import formatting
from analysis.statistics.data.level_cells import AROUND_A_BASELINE
from analysis.statistics.data.outcomes import Outcome
from search_spaces.language.space import Cell, Factor, Level, Levels
from studies.commands.checking.first_batches import Starts, named_cell, start_warnings
from studies.commands.checking.first_batches_page import starts_data, starts_tables
from studies.commands.checking.forecast import ConfigurationForecast, Forecast, memory_warnings, num_planned
from studies.commands.checking.processor import processor_warnings
from studies.commands.checking.sensitivity import Sensitivity, seeds_warnings, sensitivity
from studies.commands.checking.stored_size import size_in_words, stored_size
from studies.commands.checking.tables import plain_table
from studies.commands.options import counted
from studies.engine.binding.configurations import Configuration
from studies.engine.binding.trainable_modules import field_names, load_trainable, make_config
from studies.engine.definition.study import Study, domain_in_words
from studies.engine.execution.resource_requests import GIB
from studies.engine.execution.runner import num_trained_source_networks
from studies.engine.proposing.adaptive_search import WarmStart
from studies.plain_text import visible
from studies.run_record import level_in_words, levels_in_words
from trainables.data.classes import ClassCounts, class_counts, class_warnings, counts_in_words
from trainables.data.datasets import NO_IMAGES
from trainables.training.configs import config_sections
from trainables.training.recipe import Recipe

MOST_CELLS_SHOWN = 30
NUM_SAMPLES_SHOWN = 5
MOST_LEVELS_SHOWN = 8
"""Of a factor; ``--full`` shows all of them, and all cells."""
NUM_PROBES = 24
"""Random cells of a space that is searched, by which its fields without effect are found."""
MINUTE_S, HOUR_S = 60.0, 3600.0


def as_data(
    study: Study, forecast: Forecast | None, warm: WarmStart, of_ledger: Sequence[str] = (), *, starts: Starts | None = None
) -> dict[str, Any]:
    """Everything that check found, as data for ``--json``; the help of check names the keys.

    ``of_ledger`` is sentences on what was trained earlier, ``starts`` what the networks' first batches do.
    """
    found = sensitivity(study)
    return {
        "name": study.stores.name,
        "question": study.question,
        "trainables": study.trainables,
        "design": study.design,
        "factors": {factor.name: domain_in_words(factor) for factor in study.space.factors},
        "data": _data(study),
        "config": {name: _shared_fields(study, config) for name, config in _shared_configs(study).items()},
        "notes": [*study.notes, *_warm_in_words(warm)],
        "num_cells": len(study.cells),
        "seeds": study.seeds,
        "num_replicates": num_planned(study),
        "num_source_networks": forecast.num_source_networks if forecast else len(study.source_networks),
        "num_source_networks_trained": num_trained_source_networks(study),
        "cells": _cells_data(study, forecast),
        "cells_are_a_sample": bool(forecast and forecast.sampled),
        "forecast": _forecast_data(forecast) if forecast else None,
        "stored": vars(stored_size(study)),
        "first_batch": starts_data(starts) if starts else None,
        "sensitivity": found,
        "warnings": _all_warnings(study, forecast, found, of_ledger, starts),
    }


def _all_warnings(
    study: Study, forecast: Forecast | None, found: Sensitivity | None, of_ledger: Sequence[str], starts: Starts | None
) -> list[str]:
    of_networks = start_warnings(study, starts)
    of_study = [*study.warnings, *_data_warnings(study), *_default_warnings(study), *processor_warnings(study)]
    return [*of_ledger, *of_study, *of_networks, *seeds_warnings(study, found), *memory_warnings(forecast)]


def _data(study: Study) -> dict[str, dict[str, Any]]:
    """Every data set: its digest, the shape of its images, and how many images of each class each part has."""
    counts = _class_counts(study)
    return {
        name: {
            "digest": dataset.digest,
            "image_shape": dataset.image_shape,
            "num_classes": dataset.num_classes,
            **{part: counted_images.tolist() for part, counted_images in vars(counts[name]).items()},
        }
        for name, dataset in study.binder.datasets.items()
        if name in counts
    }


def _class_counts(study: Study) -> dict[str, ClassCounts]:
    """The counts of every data set that has images, split as the first of the cells, or of random ones, has it."""
    cells = study.cells or [study.space.random_cell(random.Random(0))]  # noqa: S311  # nothing secret
    counts: dict[str, ClassCounts] = {}
    for cell in cells if len(study.binder.datasets) > 1 else cells[:1]:
        config = study.binder.configuration(cell).config
        if config.data != NO_IMAGES and config.data not in counts:
            counts[config.data] = class_counts(
                study.binder.datasets[config.data],
                validation_fraction=config.validation_fraction,
                split_seed=config.split_seed,
                num_train_images=config.num_train_images,
            )
    return counts


def _default_warnings(study: Study) -> list[str]:
    """Fields that have an effect where their factor does not exist, and are then something else than in the baseline."""
    said: dict[str, str] = {}
    for factor in study.space.factors:
        for cell in (cell for cell in study.cells if factor.name not in cell):
            config = study.binder.configuration(cell).config
            if factor.name not in field_names(type(config)) or factor.name in config.inactive_fields():
                continue
            value, reference = getattr(config, factor.name), study.baseline.get(factor.name)
            if value != reference:
                where = ", ".join(f"{name}={_level(level)}" for name, level in cell.items() if name in factor.when)
                said[factor.name] = (
                    f"where {where}, {factor.name} has its default {_level(value)} and not the baseline's {_level(reference)}: "
                    "a difference between such a cell and the baseline is of both changes"
                )
    return list(said.values())


def _data_warnings(study: Study) -> list[str]:
    return [warning for name, counts in _class_counts(study).items() for warning in class_warnings(name, counts)]


def _shared_fields(study: Study, config: Recipe) -> dict[str, dict[str, Any]]:
    """The values that all cells share, by section and field."""
    varied = _varied(study)
    return {
        section: {name: getattr(config, name) for name in names if name not in varied}
        for section, names in config_sections(type(config)).items()
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


def page(
    study: Study,
    forecast: Forecast | None,
    warm: WarmStart,
    of_ledger: Sequence[str] = (),
    *,
    starts: Starts | None = None,
    width: int,
    full: bool = False,
) -> Group:
    """The page of ``spikesweep check``, for a person: what is trained, what differs from defaults, the cells, what to expect.

    ``of_ledger`` is sentences on what was trained earlier, ``starts`` what the networks' first batches do; ``full`` shows every
    field of the configs, by section, all cells, and every layer.
    """
    found = sensitivity(study)
    heading = [Text(study.stores.name, "bold"), Text(visible(study.question)), Text()]
    parts: list[RenderableType] = [*heading, _facts(study, forecast, warm)]
    parts += [Text(), _factors_table(study, full=full)]
    for table in _fields_tables(study) if full else _settings_tables(study):
        parts += [Text(), table]
    if cells := list(_cells_table(study, forecast, width, full=full)):
        parts += [Text(), *cells]
    if starts:
        parts += [Text(), *starts_tables(study, starts, full=full)]
    elif not forecast:
        parts += [Text(), Text("first batch: not looked at (--no-timing)", "dim")]
    parts.append(Text())
    if forecast:
        parts.append(Text(_forecast_in_words(forecast)))
    if size := size_in_words(stored_size(study)):
        parts.append(Text(size))
    if found:
        parts.append(Text(_sensitivity_in_words(study, found)))
        parts += [Text(visible(line)) for line in _by_contrast_in_words(found)]
    said = _all_warnings(study, forecast, found, of_ledger, starts)
    parts += [Text(visible(f"warning: {warning}"), "yellow") for warning in said]
    return Group(*parts, Text("The study is valid.", "green"))


def _facts(study: Study, forecast: Forecast | None, warm: WarmStart) -> Table:
    """The trainable, data, design, constraints and notes, a line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("trainable", ", ".join(study.trainables) + (f", {study.content.preset}" if study.content.preset else ""))
    for line in _data_in_words(study):
        table.add_row("data", line)
    design = study.design.replace("_", " ")
    table.add_row("design", f"{design}: {_size_in_words(study)} = {num_planned(study):,} replicates")
    if study.search:
        table.add_row("objectives", ", ".join(f"{direction} {metric}" for metric, direction in study.search.objectives.items()))
        for limit in study.search.limits:
            table.add_row("limit", str(limit))
        if study.search.pruner:
            table.add_row("pruner", str(study.search.pruner["name"]))
    if study.baseline:
        table.add_row("primary outcome", next(iter(study.objectives)))
    if study.tuning:
        tuned = [f"{factor.name} ({_domain(factor)})" for factor in study.tuning.space.factors]
        table.add_row("tuned", f"in every cell, with seed {study.tuning.seed}: {', '.join(tuned)}")
    for constraint in study.content.constraints:
        table.add_row("constraint", visible(str(constraint)))
    for note in (*study.notes, *_warm_in_words(warm)):
        table.add_row("note", visible(note))
    if words := source_networks_in_words(study, forecast):
        table.add_row("first", words)
    return table


def _data_in_words(study: Study) -> Iterator[str]:
    counts = _class_counts(study)
    for name, dataset in study.binder.datasets.items():
        if name != NO_IMAGES:
            shape = "×".join(map(str, dataset.image_shape))
            classes = "1 class" if dataset.num_classes == 1 else f"{dataset.num_classes:,} classes"
            yield visible(f"{name}: {len(dataset.train_labels):,} training images of {shape} pixels, {classes}")
            yield from [f"images per class: {counts_in_words(counts[name])}"] if name in counts else []


def source_networks_in_words(study: Study, forecast: Forecast | None = None) -> str:
    """What has to be trained first, e.g. ``3 source networks (ann) to train, 1 already trained``; nothing if nothing has."""
    num = len(study.source_networks) or (forecast.num_source_networks if forecast else 0)
    if not num:
        return ""
    num_trained = num_trained_source_networks(study)
    kinds = ", ".join(sorted({source.trainable for source in study.source_networks})) or "ann"
    known = f"{counted(num - num_trained, 'source network')} ({kinds}) to train"
    counts = [known if study.source_networks else f"up to {counted(num, 'source network')} to train"]
    return ", ".join([*counts, *([f"{num_trained} already trained"] if num_trained else [])])


def _warm_in_words(warm: WarmStart) -> list[str]:
    num = len(warm.configurations)
    return [*([f"The search will begin with {num} configurations of earlier studies."] if num else []), *warm.notes]


def _size_in_words(study: Study) -> str:
    num_seeds = len(study.seeds)
    if study.search:
        trials = f"{counted(study.search.num_trials, 'trial')} × {counted(study.search.seeds_per_trial, 'seed')}"
        words = f"{trials} by {study.search.sampler['name']}"
        others = num_seeds - study.search.seeds_per_trial
        finalists = f" + {counted(study.search.finalists, 'finalist')} × {counted(others, 'seed')}"
        return words + finalists if study.search.finalists else words
    cells = counted(len(study.cells), "cell")
    words = f"{cells} × {counted(num_seeds, 'seed')}"
    return f"{words} + {cells} × {counted(study.tuning.num_trials, 'tuning trial')}" if study.tuning else words


def _factors_table(study: Study, *, full: bool) -> Table:
    """What varies: each factor's baseline, where there is one, and its other levels."""
    conditions = any(factor.when for factor in study.space.factors)
    compares = ["baseline", "other levels"] if study.baseline else ["values"]
    table = plain_table("factor", *compares, *(["where"] if conditions else []))
    table.columns[0].no_wrap = True
    for factor in study.space.factors:
        baseline = [_level(study.baseline[factor.name])] if study.baseline else []
        where = " and ".join(f"{name} is {' or '.join(map(_level, levels))}" for name, levels in factor.when.items())
        table.add_row(factor.name, *baseline, _levels_in_words(factor, baseline, full=full), *([where] if conditions else []))
    return table


def _levels_in_words(factor: Factor, without: Sequence[str] = (), *, full: bool) -> str:
    if not isinstance(factor.domain, Levels):
        return _domain(replace(factor, when={}))
    levels = [word for word in map(_level, factor.domain.values) if word not in without]
    shown = levels if full else levels[:MOST_LEVELS_SHOWN]
    more = [f"… {len(levels)} in all"] if len(shown) < len(levels) else []
    return ("\n" if any(" " in level for level in levels) else ", ").join([*shown, *more])  # a layout is several words


def _shared_configs(study: Study) -> dict[str, Recipe]:
    """The config of every trainable with what all its cells share, and defaults for the rest."""
    classes = {name: load_trainable(name).Config for name in study.trainables}
    return {
        name: make_config(made, {key: value for key, value in study.binder.shared.items() if key in field_names(made)})
        for name, made in classes.items()
    }


def _varied(study: Study) -> dict[str, str]:
    """The fields that not all replicates share, and why not."""
    tuned = dict.fromkeys(study.tuning.space.names(), "tuned") if study.tuning else {}
    return {**dict.fromkeys(study.space.names(), "factor"), **tuned}


def _settings_tables(study: Study) -> Iterator[Table]:
    """What the study sets for all its cells other than the defaults."""
    varied = _varied(study)
    rows: dict[tuple[str, str, str], list[str]] = {}
    for trainable, config in _shared_configs(study).items():
        default, inactive = type(config)(), _inactive_fields(study, trainable)
        for names in config_sections(type(config)).values():
            for name in names:
                value, usual = getattr(config, name), getattr(default, name)
                if value != usual and name not in varied and name != "data":
                    note = f"{_level(usual)}; no effect here" if name in inactive else _level(usual)
                    rows.setdefault((name, _level(value), note), []).append(trainable)
    if not rows:
        return
    several = len(study.trainables) > 1
    table = plain_table("config", "value", "default", *(["of"] if several else []))
    table.columns[0].no_wrap = True
    for (name, value, usual), owners in rows.items():
        of_all = len(owners) == len(study.trainables)
        table.add_row(name, value, Text(usual, "dim"), *(["" if of_all else ", ".join(owners)] if several else []))
    yield table


def _fields_tables(study: Study) -> Iterator[Table]:
    """Every field of every trainable, by section."""
    varied = _varied(study)
    factors = {factor.name: factor for factor in [*(study.tuning.space.factors if study.tuning else ()), *study.space.factors]}
    for trainable, config in _shared_configs(study).items():
        default, inactive = type(config)(), _inactive_fields(study, trainable)
        table = plain_table(f"{trainable}, every field", "value", "")
        table.columns[0].no_wrap = True
        for section, names in config_sections(type(config)).items():
            table.add_row(Text(section, "bold"))
            for name in names:
                value, usual = getattr(config, name), getattr(default, name)
                words, note = _level(value), "" if value == usual else f"default {_level(usual)}"
                if name in varied:
                    words, note = _levels_in_words(factors[name], full=True), varied[name]
                elif name in inactive:
                    note = "no effect here"
                table.add_row(f"  {name}", words, Text(note, "dim"), style="dim" if name in inactive else None)
        yield table


def _inactive_fields(study: Study, trainable: str) -> set[str]:
    """The fields that have no effect in any cell of a trainable."""
    generator = random.Random(0)  # noqa: S311  # nothing secret
    cells = study.cells or [study.space.random_cell(generator) for _ in range(NUM_PROBES)]
    configurations = [study.binder.configuration(cell) for cell in cells]
    inactive = [set(each.config.inactive_fields()) for each in configurations if each.trainable == trainable]
    return set.intersection(*inactive) if inactive else set()


def _cells_table(study: Study, forecast: Forecast | None, width: int, *, full: bool) -> Iterator[RenderableType]:
    """What is trained and what it costs: cells by their factors, or some of those that a search may propose."""
    costs: list[tuple[Cell, list[str]]]
    if forecast:
        costs = [(each.levels, _costs(each)) for each in _shown(forecast)]
        titles = ["parameters", "operations", "memory", "time"]
    else:
        costs = [(cell, _sizes(study.binder.configuration(cell))) for cell in study.cells]
        titles = ["parameters", "operations"]
    if not costs:
        return
    shown = costs if full else costs[:MOST_CELLS_SHOWN]
    named = _named_cells(study, [cell for cell, _ in shown], width - sum(max(len(title), 10) + 2 for title in titles))
    if forecast and forecast.sampled:
        yield Text("Some of the configurations that may be proposed:", "dim")
    table = plain_table(*named[0])
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for names, (_, numbers) in zip(named[1:], shown, strict=True):
        table.add_row(*names, *numbers)
    yield table
    if len(shown) < len(costs):
        yield Text(f"… and {len(costs) - len(shown):,} more: --full")


def _shown(forecast: Forecast) -> Sequence[ConfigurationForecast]:
    """All configurations; of a sample the cheapest, the most expensive and some between."""
    if not forecast.sampled:
        return forecast.configurations
    ordered = sorted(forecast.configurations, key=lambda each: each.seconds)
    num = min(NUM_SAMPLES_SHOWN, len(ordered))
    return [ordered[round(i * (len(ordered) - 1) / max(1, num - 1))] for i in range(num)]


def _named_cells(study: Study, cells: Sequence[Cell], width: int) -> list[list[str]]:
    """Titles, then for each cell its names: what it has other than the baseline, its level of each factor, or all in words."""
    if study.design in AROUND_A_BASELINE:
        return [["cell"], *([visible(named_cell(study, cell))] for cell in cells)]
    factors = study.space.names()
    rows = [list(factors), *([_level_or_nothing(cell, name) for name in factors] for cell in cells)]
    if sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True)) <= width:
        return rows
    return [["cell"], *([_cell(cell)] for cell in cells)]


def _level_or_nothing(cell: Mapping[str, Level], name: str) -> str:
    return _level(cell[name]) if name in cell else "–"


def _sizes(configuration: Configuration) -> list[str]:
    return [f"{configuration.footprint.num_parameters:,}", _rounded(configuration.footprint.operations_per_image)]


def _costs(each: ConfigurationForecast) -> list[str]:
    mib = each.memory_bytes / 2**20
    memory = f"{mib:,.0f} MiB" if mib >= 1 else "< 1 MiB"
    return [f"{each.footprint.num_parameters:,}", _rounded(each.footprint.operations_per_image), memory, _duration(each.seconds)]


def _rounded(number: float) -> str:
    """Two digits and a prefix: 690 k, 1.4 M."""
    for prefix in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.2g}{prefix}" if number < 100 else f"{round(number, -1):.0f}{prefix}"
        number /= 1000
    return f"{number:.3g} T"


def _duration(seconds: float) -> str:
    """A duration in the unit that suits it: 2.4 s, 3.5 min, 12.0 h."""
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    return f"{seconds / MINUTE_S:.1f} min" if seconds < HOUR_S else f"{seconds / HOUR_S:,.1f} h"


def _forecast_in_words(forecast: Forecast) -> str:
    at_most = "at most" if forecast.sampled and forecast.num_source_networks else "about"
    return (
        f"predicted: {at_most} {_duration(forecast.wall_seconds)} on this machine, {forecast.at_once} at a time "
        f"({_duration(forecast.replicate_seconds)} of training in all); up to {forecast.memory_bytes / GIB:.1f} GiB for each, "
        f"of {forecast.available_bytes / GIB:.1f} GiB here"
    )


def _sensitivity_in_words(study: Study, found: Sensitivity) -> str:
    if found.smallest_effect is None:
        seeds, contrasts = counted(len(study.seeds), "seed"), counted(found.num_contrasts, "contrast")
        return f"smallest effect it can detect: none, with {seeds} and {contrasts}"
    outcome = found.outcome
    detects = f"smallest effect on {outcome.name} it can detect with 80 % power"
    if found.sd_of_differences is None:
        how = "give seed_sd to have it in points" if outcome.is_accuracy else "measured once there are runs"
        spread = f"standard deviations of a difference {'of logarithms ' if outcome.is_ratio else ''}paired by seed"
        return f"{detects}: {found.smallest_effect:.2f} {spread} ({how})"
    num = len(found.by_contrast)
    median = f", the median of {num} contrasts" if num > 1 else ""
    size = f"{_effect(outcome, found.smallest_effect)}{formatting.difference_unit(outcome)}{median}"
    return f"{detects}: {size} ({found.source})"


def _effect(outcome: Outcome, size: float) -> str:
    """In points without a sign, of counts and costs as a ratio."""
    return formatting.ratio(math.expm1(size)) if outcome.is_ratio else formatting.number(outcome, size)


def _by_contrast_in_words(found: Sensitivity) -> Iterator[str]:
    """A line for every factor: each level's own smallest effect, where contrasts were measured and there are several."""
    if len(found.by_contrast) < 2 or found.smallest_effect is None:
        return
    by_factor: dict[str, list[str]] = {}
    for one in found.by_contrast:
        effect = "none" if one.smallest_effect is None else _effect(found.outcome, one.smallest_effect)
        by_factor.setdefault(one.factor, []).append(f"{level_in_words(one.level)}: {effect}")
    unit = ", in points" if found.outcome.is_fraction else ""
    yield f"by contrast{unit}, each by its own spread over seeds:"
    yield from (f"  {factor} {', '.join(levels)}" for factor, levels in by_factor.items())


def _level(level: Level) -> str:
    return visible(level_in_words(level))


def _cell(levels: Mapping[str, Level]) -> str:
    return visible(levels_in_words(levels))


def _domain(factor: Factor) -> str:
    return visible(domain_in_words(factor))
