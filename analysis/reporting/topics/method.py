"""How the numbers came about: design, seeds, selection, statistics, data, versions, and the recipe that all replicates share."""

import json
from collections.abc import Mapping, Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, ItemList, Row, Table
from analysis.reporting.topics.claims.families import claims_in_words
from analysis.statistics.data.cells import reference_cell
from analysis.statistics.data.judged_images import ERRORS_FROM_CHANCE, POINTS_FROM_MEDIAN, SPREADS_FROM_MEDIAN
from analysis.statistics.data.level_cells import AROUND_A_BASELINE, FACTORIAL
from analysis.statistics.effects.best_level import FEWEST_FOR_INTERVAL
from analysis.statistics.effects.contrasts import SIGNIFICANCE
from analysis.statistics.effects.small_effects import FEWEST_IMAGES, POINTS_ABOVE_CHANCE, SMALL_POINTS, SMALL_SHARE
from analysis.statistics.search import partial_dependence
from analysis.statistics.search.exploration import Exploration
from analysis.statistics.search.importance import MOST_CONFIGURATIONS, NUM_HALVES, NUM_SHUFFLES
from analysis.statistics.search.ped_anova import FEWEST_BEST
from analysis.statistics.search.surrogate_models import NUM_FOLDS
from analysis.statistics.selection import is_selected_on_test
from analysis.statistics.summary import Summary
from analysis.words import distinct
from studies.label_texts import label_of
from studies.run_record import PRUNED, SELECTED_ON_TEST, SELECTION, RunRecord, StudyRecord, levels_in_words

MOST_UNFOLDED = 12
"""Of the replicates that have not finished; the page folds a longer list."""


def counts_in_words(summary: Summary) -> str:
    """How many replicates finished, and how many were pruned if any were; a tuning's trials are counted with their cells."""
    num_pruned = sum(run.status == PRUNED for run in summary.asked)
    num_finished = len(summary.asked) - num_pruned - len(summary.not_finished)
    return f"{num_finished} of {len(summary.asked)} replicates finished{f', {num_pruned} pruned' if num_pruned else ''}."


def unfinished_list(summary: Summary) -> ItemList:
    """Every replicate that has not finished: which, in what state, and why."""
    items = [
        f"{formatting.configuration_in_words(summary.study, run.levels)} · seed {run.seed}: {run.status.lower()}"
        + (f", {run.reason}" if run.reason else "")
        for run in summary.not_finished
    ]
    return ItemList(f"Not finished ({len(items)})", items, is_folded=len(items) > MOST_UNFOLDED)


def design_list(study: StudyRecord) -> ItemList:
    """The notes of the study on its own design: resolution, generators and aliases; and its constraints."""
    return ItemList("Design", [*study.notes, *(f"Constraint: {constraint}." for constraint in study.constraints)])


def method_list(summary: Summary) -> ItemList:
    """How the numbers came about, a sentence or two on each."""
    study = summary.study
    ranges = [f"Ranges: {_ranges(study.ranges)}."] if study.ranges else []
    labels = [f"{name} is called {label_of(study.labels, name, name)}" for name in study.labels]
    ranges += [f"Labels: {'; '.join(labels)}."] if labels else []
    lines = [_design(summary), *ranges, *_references(study), *_selection(summary), *_tuning(study), *_intervals(summary)]
    lines += [*claims_in_words(summary), *_effects(summary), *_variances(summary), *_stability(summary), *_search(summary)]
    lines += _provenance(study, [run for run in summary.runs if run.config])
    return ItemList("Method", lines, is_detail=True)


def _design(summary: Summary) -> str:
    study = summary.study
    options = f" ({formatting.setting(study.options)})" if study.options else ""
    begin = f"Design: {study.design.replace('_', ' ')}{options}"
    if study.design == "adaptive_search":
        seeds = formatting.named_seeds({run.seed for run in summary.asked if run.role == "search"})
        return (
            f"{begin}. The search proposed configurations from the results of earlier ones, trained with {seeds}; its trials "
            "measure the effect of no level."
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
        f"{begin}, the same in every cell. The cells were drawn at random, so two levels occur with the other factors' levels in "
        "different shares. A difference of their means would partly be due to the other factors, so none is shown."
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


def _selection(summary: Summary) -> list[str]:
    study, hows = summary.study, [run.facts[SELECTION] for run in summary.asked if SELECTION in run.facts]
    when = (
        "Accuracy and sparsity are of the validation images after the last epoch; the test images were used once, at that time."
    )
    if hows:
        of_epochs = ", ".join(dict.fromkeys(how.partition(",")[0] for how in hows))
        when = f"Accuracy and sparsity are those of the selected epoch ({of_epochs}), where one was selected, else of the last."
    if num := sum(map(is_selected_on_test, summary.asked)):
        return [f"{when} The epochs of {num} of {len(summary.asked)} replicates were {SELECTED_ON_TEST}."]
    if study.design == "adaptive_search":
        selected = (
            "The search selected on these values. Finalists were trained with seeds that it never used, so that luck in training "
            "does not make them look better; the validation images are the same. Nothing was selected on the test images."
        )
    elif study.design == "random":
        selected = "Cells are ranked on the validation images; nothing was selected on the test images."
    elif study.tuning:
        selected = "Nuisance hyperparameters were selected on the validation images; nothing was selected on the test images."
    elif hows:
        selected = (
            "Epochs were selected on the validation images, whose accuracy is too high by that, and none on the test images."
        )
    else:
        selected = "No epoch was selected on either."
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
        "estimate. Intervals and p-values take the tuned values as they are: another tuning might have chosen others."
    ]


def _ranges(ranges: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {formatting.setting(text)}" for name, text in ranges.items())


def _intervals(summary: Summary) -> list[str]:
    lines = [
        "Intervals of means: 95 %, Student's t over seeds: how much another seed would change, for these images. They are not "
        "corrected for their number."
    ]
    if summary.effects:
        lines += [
            "p: two-sided sign-flip test of the differences paired by seed, of counts and costs on the logarithmic scale, of "
            "accuracies on the logit scale and as they are, whichever p is larger; corrected by Holm over the contrasts of one "
            f"outcome; a verdict needs corrected p < {SIGNIFICANCE}.",
            "Intervals of differences: all shifts that this test does not reject at the level at which Holm's procedure tests "
            f"the contrast, {SIGNIFICANCE} or less. So each has 95 % or more, and holds 0 if and only if the contrast is not "
            "decided. A shift on the logit scale is shown as what it does to the mean accuracy of the baseline's seeds.",
        ]
    return lines


def _effects(summary: Summary) -> list[str]:
    if not summary.effects:
        return []
    return [
        "Effect size: Hedges' g_av, the paired difference divided by the square root of the two levels' mean variance over "
        "seeds, corrected for small samples (Cumming 2012; Lakens 2013).",
        f"“No effect larger than”: an undecided difference whose interval lies within ±{100 * SMALL_POINTS:g} points of accuracy "
        f"(±{100 * SMALL_SHARE:g} % of what is no fraction). It is said where that is at least {FEWEST_IMAGES} images, no "
        f"replicate of the two levels is missing, both are surely {100 * POINTS_ABOVE_CHANCE:g} points better than guessing "
        "(among two classes, where their number is not recorded), and the design separates the factor from all other effects "
        "and interactions of two.",
        "“More seeds”: how many more would settle it with 80 % probability, by a decision or by showing that it is small, at "
        "the contrast's own step of Holm's procedure, if the true difference and spread are the measured ones.",
        f"Collapse: a replicate whose accuracy is at most {ERRORS_FROM_CHANCE:g} standard errors above guessing, or more than "
        f"{100 * POINTS_FROM_MEDIAN:g} points and {SPREADS_FROM_MEDIAN:g} robust standard deviations below its cell's median. It "
        "counts in all numbers; differences without the seeds of such replicates stand beside them.",
        "Direction: an outcome rises or falls with a factor where at least two levels are decided that way, and so is every step "
        f"from one level to the next larger one (p < {SIGNIFICANCE}, not corrected).",
    ]


def _variances(summary: Summary) -> list[str]:
    if not summary.variances:
        return []
    return [
        "Analysis of variance: seeds are blocks. Every term is tested against the model of all terms that do not contain it "
        "(type II sums of squares), with the interaction of cells and seeds as the error; least squares by statsmodels; p "
        "corrected by Holm over the rows of one table.",
        "Partial ω² (Olejnik and Algina 2003) with an interval from the noncentral F (Steiger 2004); estimates below 0 are shown "
        "as 0. The table and these intervals assume normal noise of equal size in all cells (under heavy tails such intervals "
        "cover about 90 % in simulations, not 95); the paired differences do not.",
    ]


def _stability(summary: Summary) -> list[str]:
    found = summary.stability
    if found is None or not found.cells:
        return []
    return [
        f"The best {found.kind} is the one with the best mean, and decidedly so where the sign-flip test against every other, "
        f"paired by seed, gives p < {SIGNIFICANCE} (Gutmann and Maymin 1987). Another one may be the best unless p · (k - 1) / 2 "
        f"against the first is below {SIGNIFICANCE}, k being how many there are. The interval of the first allows for its having "
        "been chosen: Student's t, on the worse side at a level divided by how many may be the best (Bonferroni). It has none of "
        f"fewer than {FEWEST_FOR_INTERVAL} seeds, nor where replicates have collapsed: few did in the cell with the best mean, "
        "whatever its chance of it is.",
    ]


def _search(summary: Summary) -> list[str]:
    """How importance, surrogate models and the front's probabilities were computed, and how pruned trials count."""
    found = summary.exploration
    if found is None:
        return []
    lines = _pruned_lines(summary, found) + _front_lines(summary)
    if not any(one.fanova for importances in found.importances.values() for one in importances):
        return lines
    num = len(found.tried.places_NF)
    how = _how_judged() if found.is_space_filling else _how_associated()
    drawn = [f"Importance and surrogate models are of {MOST_CONFIGURATIONS} of the {num} configurations, drawn at random."]
    return [
        "Importance: fANOVA (Hutter et al. 2014) is the share of a random forest's variance over the space that is a factor's "
        f"main effect; ranges are uniform on their own scale. ± is the standard error over {NUM_HALVES} random halves of the "
        f"configurations. {how}",
        "Partial dependence: the mean prediction of the surrogate model with the least cross-validated error (random forest or "
        f"Gaussian process, {NUM_FOLDS} folds) at a level, over the configurations tried. The band is 95 %, pointwise, by "
        f"{partial_dependence.NUM_HALVES} random halves of them: how much other configurations would change the curve, not how "
        "wrong the model is.",
        *_condition_lines(summary.study),
        *(drawn if num > MOST_CONFIGURATIONS else []),
        *lines,
    ]


def _how_judged() -> str:
    return (
        "PED-ANOVA (Watanabe et al. 2023) is the share of being among the best tenth (at least "
        f"{FEWEST_BEST}) that a factor explains among what was tried. “By chance” is the largest share, in {NUM_SHUFFLES} "
        "shuffles, of copies of the factors whose levels are shuffled among the configurations; the forest is given them, too."
    )


def _how_associated() -> str:
    return (
        "The sampler learnt from results. So shuffled copies do not tell what chance would do, and PED-ANOVA (which compares the "
        "best tenth with all that was tried) would miss just the factor that the search set first; neither is shown."
    )


def _condition_lines(study: StudyRecord) -> list[str]:
    if not any(study.conditions.values()):
        return []
    return [
        "A factor that exists only under a condition is judged among the configurations in which it was active, with the factors "
        "that were active in all of these; where it is not active, surrogate models place it in the middle of its range."
    ]


def _pruned_lines(summary: Summary, found: Exploration) -> list[str]:
    if not found.tried.num_pruned:
        return []
    of_ped = f" PED-ANOVA of {summary.primary.name}, on which they were pruned, counts them as worse than all others."
    of_ped = of_ped if found.is_space_filling else ""
    return [
        f"{found.tried.num_pruned} configurations were pruned. Their last values are of an early epoch, so no mean, surrogate "
        f"model, front or fANOVA uses them.{of_ped}"
    ]


def _front_lines(summary: Summary) -> list[str]:
    bases = {ranking.front_basis for ranking in summary.rankings}
    lines = []
    if "seeds" in bases:
        lines.append(
            "On the Pareto front in a share of 1,000 bootstrap resamples of the seeds, the same for all configurations: no other "
            "configuration dominates its means; resampled means are widened by √(k / (k - 1)) for k seeds. The share is not the "
            "probability that it is truly on the front. Fewer than 5 seeds say too little of their own spread."
        )
    if "noise of the finalists" in bases:
        lines.append(
            "For searched configurations the share is over 1,000 draws of the noise that the finalists' replicates show beyond "
            "their configuration's and their seed's mean, assumed to be the same everywhere. It does not correct for the luck "
            "that the best of many also had."
        )
    return lines


def _provenance(study: StudyRecord, runs: Sequence[RunRecord]) -> list[str]:
    if not runs:
        return []
    lines = [f"Trainable {study.trainable}; its recipe is at the end."]
    lines += [f"Data digest: {', '.join(distinct(run.data_digest for run in runs))}."]
    lines += [f"Versions: {_versions(text)}." for text in distinct(run.versions for run in runs)]
    lines += [f"Git commit: {', '.join(distinct(run.git_commit for run in runs)) or 'none'}."]
    return lines


def recipe_table(summary: Summary) -> Table:
    """What all replicates share: every config field that has one value and is no factor."""
    runs = [run for run in summary.runs if run.config]
    first = runs[0].config if runs else {}
    shared = [name for name, value in first.items() if all(run.config.get(name, ...) == value for run in runs)]
    fields = [name for name in shared if name not in summary.study.factors]
    caption = f"What all replicates share: the {len(fields)} config fields that have one value and are not factors."
    columns = [Column("field", is_text=True), Column("value", is_text=True, is_long=True)]
    rows = [Row([name, formatting.setting(first[name])]) for name in fields]
    return Table("Recipe", caption, columns, rows, is_folded=True, is_detail=True)


def _versions(text: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in json.loads(text or "{}").items())
