"""What a search or a random design says of its space, in sentences, and how those numbers came about."""

from collections.abc import Iterator, Sequence

from analysis.reporting import formatting
from analysis.statistics.data.outcomes import Outcome, objectives_of
from analysis.statistics.search import partial_dependence
from analysis.statistics.search.exploration import Exploration
from analysis.statistics.search.importance import (
    FEWEST_CONFIGURATIONS,
    MOST_CONFIGURATIONS,
    NUM_HALVES,
    NUM_SHUFFLES,
    Importance,
    Share,
)
from analysis.statistics.search.partial_dependence import Surrogate
from analysis.statistics.search.ped_anova import FEWEST_BEST
from analysis.statistics.search.surrogate_models import NUM_FOLDS
from analysis.statistics.summary import Summary
from studies.run_record import StudyRecord

ASSOCIATIONS = (
    "Associations in an adaptive sample are not effects: the search went on where values were good, so that a level was met by "
    "the other factors' levels in unequal shares, and what looked bad early was hardly tried again. Importance and partial "
    "dependence say where to look; a designed study of these factors measures what a level does."
)
NUM_NAMED = 3


def search_sentences(summary: Summary) -> Iterator[str]:
    """The warning that associations are no effects, then what goes with every objective, and when the search got there."""
    found = summary.exploration
    if found is None or not len(found.sample.places_NF):
        return
    if summary.study.design == "adaptive_search":
        yield ASSOCIATIONS
    for outcome, importances in found.importances.items():
        yield _importance_in_words(found, outcome, importances)
    for learnt in found.surrogates.values():
        if learnt.scores and not learnt.explains_something:
            yield f"{_surrogate_in_words(learnt)} No partial dependence is drawn."
    if found.progress and len(objectives_of(summary.study)) > 1:
        yield _progress_in_words(found)


def _importance_in_words(found: Exploration, outcome: Outcome, importances: Sequence[Importance]) -> str:
    nothing = why_no_importance(found, outcome, importances)
    if nothing:
        return nothing
    known = [(one.factor, one.fanova) for one in importances if one.fanova]
    above = sorted(((share, name) for name, share in known if share.is_above_chance), key=lambda pair: -pair[0].value)
    if not above:
        return f"{outcome.name} goes with no factor more than by chance (fANOVA)."
    named = ", ".join(f"{name} ({share_in_words(share)} %)" for share, name in above[:NUM_NAMED])
    more = f" and {len(above) - NUM_NAMED} more" if len(above) > NUM_NAMED else ""
    rest = [name for name, share in known if not share.is_above_chance]
    others = f"; no more than by chance with {', '.join(rest)}" if rest else ""
    return f"{outcome.name} goes most with {named}{more}: shares of its variance by fANOVA{others}."


def why_no_importance(found: Exploration, outcome: Outcome, importances: Sequence[Importance]) -> str:
    """Why nothing can be said of it; empty if something can."""
    if any(one.fanova for one in importances):
        return ""
    num = int(found.sample.known(outcome).sum())
    if num >= FEWEST_CONFIGURATIONS:
        is_constant = len(set(found.sample.values[outcome][found.sample.known(outcome)].tolist())) == 1
        why = f"all {num} configurations have the same value" if is_constant else "no factor was active in enough of them"
        return f"Nothing is said of what {outcome.name} goes with: {why}."
    return (
        f"Nothing is said of what {outcome.name} goes with: that takes at least {FEWEST_CONFIGURATIONS} configurations, and "
        f"{num} {'has' if num == 1 else 'have'} a value."
    )


def share_in_words(share: Share | None) -> str:
    """A share in percent with its standard error: ``34 ± 5``."""
    return formatting.NONE if share is None else f"{100 * share.value:.0f} ± {100 * share.standard_error:.0f}"


def _surrogate_in_words(learnt: Surrogate) -> str:
    best = learnt.scores[0]
    return (
        f"No surrogate predicts {learnt.outcome.name} better than its mean does: the best is a {best.kind} with a "
        f"cross-validated R² of {best.r_squared:.2f} ± {best.standard_error:.2f} over {learnt.num_configurations} configurations."
    )


def error_in_words(learnt: Surrogate) -> str:
    """The surrogate that was chosen, and its error on configurations that it has not seen."""
    best, outcome = learnt.scores[0], learnt.outcome
    return (
        f"{best.kind}, cross-validated RMSE {formatting.number(outcome, best.rmse)}{formatting.difference_unit(outcome)}, R² "
        f"{best.r_squared:.2f} ± {best.standard_error:.2f}, {learnt.num_configurations} configurations"
    )


def _progress_in_words(found: Exploration) -> str:
    if found.progress is None or found.progress.reached[-1] <= 0:
        return "The hypervolume of the search's front is 0: no trial is better than the worst one in every objective."
    until, total = found.progress.trials_until(0.95), found.progress.num_trials[-1]
    return f"95 % of the last hypervolume was reached after {until} of {total} trials."


def reference_in_words(found: Exploration) -> str:
    """The reference point of the hypervolume."""
    reference = found.progress.reference if found.progress else {}
    return ", ".join(
        f"{outcome.name} {formatting.number(outcome, value)}{formatting.unit(outcome)}" for outcome, value in reference.items()
    )


def search_method_lines(summary: Summary) -> list[str]:
    """How importance, surrogates and the front's probabilities were computed, and what became of pruned trials."""
    found = summary.exploration
    if found is None:
        return []
    lines = _pruned_lines(summary, found) + _front_lines(summary)
    if not any(one.fanova for importances in found.importances.values() for one in importances):
        return lines
    num = len(found.sample.places_NF)
    drawn = [f"Importance and surrogates are of {MOST_CONFIGURATIONS} of the {num} configurations, drawn at random."]
    return [
        "Importance: fANOVA (Hutter et al. 2014) is the share of a random forest's variance over the space that is a factor's "
        "main effect; ranges count in their own scale. PED-ANOVA (Watanabe et al. 2023) is the share of being among the best "
        f"tenth (at least {FEWEST_BEST}) that a factor explains among what was tried. ± is the standard error over {NUM_HALVES} "
        f"random halves of the configurations. “By chance” is the largest share, in {NUM_SHUFFLES} shuffles, of a copy of the "
        "factor whose levels are shuffled among the configurations, and which the forest sees beside it.",
        "Partial dependence: the mean prediction of the surrogate with the least cross-validated error (random forest or "
        f"Gaussian process, {NUM_FOLDS} folds) at a level, over the configurations tried. The band is 95 %, pointwise, by "
        f"{partial_dependence.NUM_HALVES} random halves of them: what other configurations would change, not what the surrogate "
        "gets wrong.",
        *_condition_lines(summary.study),
        *(drawn if num > MOST_CONFIGURATIONS else []),
        *lines,
    ]


def _condition_lines(study: StudyRecord) -> list[str]:
    if not any(study.conditions.values()):
        return []
    return [
        "A factor that exists only under a condition is judged among the configurations in which it was active, with the factors "
        "that were active in all of these; surrogates take it for the middle of its range where it is not."
    ]


def _pruned_lines(summary: Summary, found: Exploration) -> list[str]:
    if not found.sample.num_pruned:
        return []
    return [
        f"{found.sample.num_pruned} configurations were pruned. Their last values are of an early epoch: no mean, surrogate, "
        f"front or fANOVA has them; PED-ANOVA of {summary.primary.name}, on which they were pruned, takes them for worse than "
        "all others."
    ]


def _front_lines(summary: Summary) -> list[str]:
    bases = {ranking.front_basis for ranking in summary.rankings}
    lines = []
    if "seeds" in bases:
        lines.append(
            "Probability to be on the Pareto front: the share of 1,000 bootstrap resamples of the seeds, the same for all "
            "configurations, in which none of its fellows beats its means; resampled means are widened by √(k / (k - 1)) for k "
            "seeds. Fewer than 5 seeds know too little of their own spread: a probability near 0 is then less sure than it looks."
        )
    if "noise of the finalists" in bases:
        lines.append(
            "Of what was searched the probability is over the noise that the finalists' replicates show beyond their "
            "configuration's and their seed's mean, taken to be the same everywhere; it does not take back that the best of many "
            "were also lucky."
        )
    return lines
