"""How the numbers came about, in sentences: design, seeds, selection, data, recipe, versions, statistics."""

import json
from collections.abc import Iterator, Mapping, Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Line, Section
from analysis.reporting.topics.search_sentences import search_method_lines
from analysis.reporting.topics.statistics_method import statistics_lines
from analysis.statistics.data.cells import reference_cell
from analysis.statistics.data.level_cells import AROUND_A_BASELINE, FACTORIAL
from analysis.statistics.effects.level_effects import SIGNIFICANCE
from analysis.statistics.summary import Summary
from studies.run_record import PRUNED, RunRecord, StudyRecord, levels_in_words


def counts_in_words(summary: Summary) -> str:
    """How many replicates finished, and how many were pruned if any were; a tuning's trials are counted with their cells."""
    num_pruned = sum(run.status == PRUNED for run in summary.asked)
    num_finished = len(summary.asked) - num_pruned - len(summary.not_finished)
    return f"{num_finished} of {len(summary.asked)} replicates finished{f', {num_pruned} pruned' if num_pruned else ''}."


def unfinished_lines(summary: Summary) -> list[str]:
    """A line for every replicate that has not finished: which, in what state, and why."""
    return [
        f"{formatting.configuration_in_words(summary.study, run.levels)} · seed {run.seed}: {run.status.lower()}"
        + (f", {run.reason}" if run.reason else "")
        for run in summary.not_finished
    ]


def design_lines(study: StudyRecord) -> list[str]:
    """What the study says of its own design: resolution, generators and aliases; constraints."""
    return [*study.notes, *(f"Constraint: {constraint}." for constraint in study.constraints)]


def method_lines(summary: Summary) -> list[str]:
    """A sentence or two on each."""
    study = summary.study
    ranges = [f"Ranges: {_ranges(study.ranges)}."] if study.ranges else []
    lines = [_design(summary), *ranges, *_references(study), *_selection(study), *_tuning(study)]
    lines.append(
        "Intervals: 95 %, Student's t over seeds: how much another seed would change, for these images. Each is for itself"
        + (", so that one may exclude 0 where the corrected p-value does not decide." if summary.effects else ".")
    )
    if summary.effects:
        lines.append(
            "p: two-sided sign-flip test; corrected by Holm over the contrasts of one outcome; a verdict needs corrected "
            f"p < {SIGNIFICANCE}."
        )
    lines += statistics_lines(summary)
    lines += search_method_lines(summary)
    return lines + _provenance(study, [run for run in summary.runs if run.config])


def _design(summary: Summary) -> str:
    study = summary.study
    options = f" ({formatting.setting(study.options)})" if study.options else ""
    begin = f"Design: {study.design.replace('_', ' ')}{options}"
    if study.design == "adaptive_search":
        seeds = formatting.named_seeds({run.seed for run in summary.asked if run.role == "search"})
        return (
            f"{begin}. The search proposed configurations by what it had seen of earlier ones, trained with {seeds}; its trials "
            "answer for no level of a factor."
        )
    begin = f"{begin}, {formatting.named_seeds(study.seeds)}"
    if study.design in AROUND_A_BASELINE:
        return (
            f"{begin}, the same in every cell. Simple effects at the baseline of the other "
            "factors; differences are paired by seed."
        )
    if study.design in FACTORIAL:
        return (
            f"{begin}, the same in every cell. Main effects: within every seed the mean over all cells that have the level, "
            "minus the mean over all cells that have the factor's baseline level; of a conditional factor over the cells in "
            "which it is active. Where cells or replicates are missing, both are adjusted by a linear model of "
            "main effects."
        )
    return (
        f"{begin}, the same in every cell. The cells were drawn at random, so that a level meets the others' levels in other "
        "shares than another level does: a difference of their means would be of the other factors too, and none is shown."
    )


def _references(study: StudyRecord) -> list[str]:
    """Which factors are not compared in the baseline cell."""
    if study.design not in AROUND_A_BASELINE:
        return []
    return [
        f"{factor} is only active under conditions; its levels are compared in the cell "
        f"{levels_in_words(reference_cell(study, factor))}."
        for factor in study.factors
        if study.conditions.get(factor)
    ]


def _selection(study: StudyRecord) -> list[str]:
    when = "Accuracy and sparsity are of the validation images after the last epoch; the test images were looked at once, then."
    if study.design == "adaptive_search":
        selected = (
            "The search selected on these values; finalists were trained with seeds that it never used, so that chance in "
            "training does not flatter them, while the validation images are the same. Nothing was selected on the test images."
        )
    elif study.design == "random":
        selected = "Cells are ranked on the validation images; nothing was selected on the test images."
    elif study.tuning:
        selected = "Nuisance hyperparameters were selected on the validation images; nothing was selected on the test images."
    else:
        selected = "Nothing was selected on either."
    return [f"{when} {selected}"]


def _tuning(study: StudyRecord) -> list[str]:
    if not study.tuning:
        return []
    tuning = study.tuning
    parameters = _ranges(tuning.get("parameters", {}))
    others = {name: content for name, content in tuning.items() if name not in ("parameters", "num_trials", "seed")}
    by = f" ({formatting.setting(others)})" if others else ""
    return [
        f"Each cell's nuisance hyperparameters ({parameters}) were tuned with a budget of {tuning.get('num_trials', '?')} "
        f"trials{by} on seed {tuning.get('seed', '?')}, which is none of the study's seeds. No trial of a tuning enters an "
        "estimate."
    ]


def _ranges(ranges: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {formatting.setting(text)}" for name, text in ranges.items())


def _provenance(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    if not runs:
        return []
    lines = [f"Trainable {study.trainable}; its recipe is at the end."]
    lines += [f"Data digest: {', '.join(_distinct(run.data_digest for run in runs))}."]
    lines += [f"Versions: {_versions(text)}." for text in _distinct(run.versions for run in runs)]
    lines += [f"Git commit: {', '.join(_distinct(run.git_commit for run in runs)) or 'none'}."]
    return lines


def recipe_sections(summary: Summary) -> list[Section]:
    """What all replicates share: every config field that has one value and is no factor."""
    runs = [run for run in summary.runs if run.config]
    if not runs:
        return []
    first = runs[0].config
    shared = [name for name, value in first.items() if all(run.config.get(name, ...) == value for run in runs)]
    fields = [name for name in shared if name not in summary.study.factors]
    caption = f"What all replicates share: {len(fields)} fields of the config that have one value and are no factor."
    columns = [Column("field", is_text=True), Column("value", is_text=True, is_long=True)]
    lines = [Line([name, formatting.setting(first[name])]) for name in fields]
    return [Section("Recipe", caption, columns, lines, is_folded=True)]


def _versions(text: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in json.loads(text or "{}").items())


def _distinct(values: Iterator[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]
