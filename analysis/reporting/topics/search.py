"""What a search or a random design says of its space: importance and partial dependence in tables, and in verdicts."""

from collections.abc import Iterator, Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, filled
from analysis.statistics.data.outcomes import Outcome, has_several_objectives
from analysis.statistics.search.exploration import Exploration
from analysis.statistics.search.importance import FEWEST_CONFIGURATIONS, Importance, Share
from analysis.statistics.search.partial_dependence import Dependence, SurrogateModel
from analysis.statistics.summary import Summary
from analysis.words import first_of
from studies.run_record import StudyRecord

ASSOCIATIONS = (
    "Associations in an adaptive sample are not effects. The search sampled more where values were good, so a level occurs with "
    "the other factors' levels in unequal shares, and what looked bad early was hardly tried again. Importance and partial "
    "dependence say where to look; a designed study of these factors measures what a level does."
)
NUM_NAMED = 3


def search_tables(summary: Summary) -> list[Table]:
    """Importance of every factor for every objective, then where the partial dependence is highest and lowest; or none."""
    return filled(_importance_table(summary), _dependence_table(summary))


def _importance_table(summary: Summary) -> Table:
    found = summary.exploration
    if found is None:
        return Table("Importance of the factors", "", [], [])
    columns = [Column("objective", is_text=True, only="wide"), Column("factor", is_text=True), Column("fANOVA (%)")]
    if found.is_space_filling:
        columns += [Column("by chance"), Column("PED-ANOVA (%)"), Column("by chance")]
    columns.append(Column("configurations", only="wide"))
    rows = []
    for outcome, importances in found.importances.items():
        judged = [one for one in importances if one.fanova]
        for place, one in enumerate(by_importance(judged)):
            shares = [share_with_error(one.fanova)]
            if found.is_space_filling:
                by_ped = share_with_error(one.ped_anova), _chance_in_words(one.ped_anova)
                shares += [_chance_in_words(one.fanova), *by_ped]
            cells = [outcome.name, formatting.factor_name(summary.study, one.factor), *shares, str(one.num_configurations)]
            rows.append(Row(cells, "" if place else "first", group=outcome.name))
    return Table("Importance of the factors", f"{importance_caption(found)}{_forests_in_words(found)}", columns, rows)


def by_importance(importances: list[Importance]) -> list[Importance]:
    """Sort importances, the largest share by fANOVA first."""
    return sorted(importances, key=lambda one: -(one.fanova.value if one.fanova else 0.0))


def importance_caption(found: Exploration) -> str:
    """What the shares are of, and what they are compared with."""
    if found.is_space_filling:
        return (
            "Shares of an objective's variance (fANOVA), and of being among its best tenth (PED-ANOVA), ± standard error. “By "
            "chance” is the largest share of any factor whose levels were shuffled."
        )
    return (
        "Associations, not effects. Shares of an objective's variance (fANOVA), ± standard error over halves of what was tried. "
        "An adaptive sample does not tell what chance would do."
    )


def _forests_in_words(found: Exploration) -> str:
    """How well the forest behind fANOVA predicts: of what it cannot predict it cannot give shares."""
    forests = [
        f"{outcome.name} {score.r_squared:.2f}"
        for outcome in found.importances
        for score in found.surrogate_models[outcome].scores
        if score.kind == "random forest"
    ]
    return f" The forest's cross-validated R²: {', '.join(forests)}." if forests else ""


def _chance_in_words(share: Share | None) -> str:
    return formatting.NONE if share is None else f"{100 * share.by_chance:.0f}"


def _dependence_table(summary: Summary) -> Table:
    columns = [Column("outcome", is_text=True), Column("factor", is_text=True)]
    columns += [Column("highest at", is_text=True), Column("predicted (band)"), Column("lowest at", is_text=True)]
    columns += [Column("predicted (band)")]
    rows, errors = [], []
    for learnt in summary.exploration.surrogate_models.values() if summary.exploration else ():
        if learnt.dependences:
            errors.append(f"{learnt.outcome.name}: {error_in_words(learnt)}.")
        for place, dependence in enumerate(learnt.dependences):
            cells = [
                *_at(learnt, dependence, int(dependence.mean.argmax())),
                *_at(learnt, dependence, int(dependence.mean.argmin())),
            ]
            factor = formatting.factor_name(summary.study, dependence.axis.factor)
            rows.append(Row([learnt.outcome.name, factor, *cells], "first" if not place else ""))
    what = (
        "What a surrogate model predicts on average over the other factors, where that is highest and where it is lowest, with "
        "the band in which other configurations might put it (not how wrong the model is)."
    )
    caption = f"{what} {' '.join(errors)}"
    return Table("Partial dependence", caption, columns, rows, is_detail=True)


def _at(learnt: SurrogateModel, dependence: Dependence, place: int) -> list[str]:
    values = (float(bound[place]) for bound in (dependence.mean, dependence.low, dependence.high))
    mean, low, high = (formatting.number(learnt.outcome, value) for value in values)
    return [formatting.tuned_value(dependence.levels[place]), f"{mean}{formatting.unit(learnt.outcome)} ({low} to {high})"]


def search_verdicts(summary: Summary) -> Iterator[str]:
    """That associations are no effects, which factors every objective is associated with, and the progress of the search."""
    found = summary.exploration
    if found is None or not len(found.tried.places_NF):
        return
    if not found.is_space_filling:
        yield ASSOCIATIONS
    for outcome, importances in found.importances.items():
        yield _importance_in_words(summary.study, found, outcome, importances)
    if not found.is_space_filling and any(one.fanova for importances in found.importances.values() for one in importances):
        yield follow_up_in_words(summary.study)
    for learnt in found.surrogate_models.values():
        if learnt.scores and not learnt.explains_something:
            yield f"{_surrogate_in_words(learnt)} No partial dependence is drawn."
    if found.progress and has_several_objectives(summary.study):
        yield _progress_in_words(found)


def _importance_in_words(study: StudyRecord, found: Exploration, outcome: Outcome, importances: Sequence[Importance]) -> str:
    nothing = why_no_importance(found, outcome, importances)
    if nothing:
        return nothing
    known = [(formatting.factor_name(study, one.factor), one.fanova) for one in importances if one.fanova]
    if not found.is_space_filling:
        if not found.surrogate_models[outcome].explains_something:
            return f"{outcome.name}: no factor stands out in what the search tried."
        name, share = max(known, key=lambda pair: pair[1].value)
        shown = f"{name} ({share_with_error(share)} % of its variance by fANOVA)"
        return f"{outcome.name}: in what the search tried, it goes most with {shown}."
    above = sorted(((share, name) for name, share in known if share.is_above_chance), key=lambda pair: -pair[0].value)
    if not above:
        return f"{outcome.name} is associated with no factor beyond chance (fANOVA)."
    named = first_of([f"{name} ({share_with_error(share)} %)" for share, name in above], NUM_NAMED)
    rest = [name for name, share in known if not share.is_above_chance]
    others = f"; not beyond chance with {', '.join(rest)}" if rest else ""
    return f"{outcome.name} is most associated with {named}: shares of its variance by fANOVA{others}."


def follow_up_in_words(study: StudyRecord) -> str:
    """How to find out which factors matter more than chance would show: the command for a sample that fills the space."""
    return (
        "Which factors matter more than chance would show cannot be told from this sample, as the sampler learnt from results. "
        "As many configurations drawn at random can tell "
        f"(spikesweep run {study.name}.yaml --set name={study.name}_random --set design.sampler=random --set design.finalists=0)."
    )


def why_no_importance(found: Exploration, outcome: Outcome, importances: Sequence[Importance]) -> str:
    """Why an objective has no importances; empty if it has."""
    if any(one.fanova for one in importances):
        return ""
    num = int(found.tried.known(outcome).sum())
    if num >= FEWEST_CONFIGURATIONS:
        is_constant = len(set(found.tried.values[outcome][found.tried.known(outcome)].tolist())) == 1
        why = f"all {num} configurations have the same value" if is_constant else "no factor was active in enough of them"
        return f"No importance is given for {outcome.name}: {why}."
    return (
        f"No importance is given for {outcome.name}: that takes at least {FEWEST_CONFIGURATIONS} configurations, and "
        f"{num} {'has' if num == 1 else 'have'} a value."
    )


def share_with_error(share: Share | None) -> str:
    """A share in percent with its standard error: ``34 ± 5``, with a decimal where that is smaller than one percent."""
    if share is None:
        return formatting.NONE
    num_decimals = int(100 * share.standard_error < 1)
    return f"{100 * share.value:.{num_decimals}f} ± {100 * share.standard_error:.{num_decimals}f}"


def _surrogate_in_words(learnt: SurrogateModel) -> str:
    best = learnt.scores[0]
    return (
        f"No surrogate model predicts {learnt.outcome.name} better than its mean does: the best is a {best.kind} with a "
        f"cross-validated R² of {best.r_squared:.2f} ± {best.standard_error:.2f} over {learnt.num_configurations} configurations."
    )


def error_in_words(learnt: SurrogateModel) -> str:
    """The surrogate model that was chosen, and its error on configurations that it has not seen."""
    best, outcome = learnt.scores[0], learnt.outcome
    return (
        f"{best.kind}, cross-validated RMSE {formatting.number(outcome, best.rmse)}{formatting.difference_unit(outcome)}, R² "
        f"{best.r_squared:.2f} ± {best.standard_error:.2f}, {learnt.num_configurations} configurations"
    )


def _progress_in_words(found: Exploration) -> str:
    if found.progress is None or found.progress.reached[-1] <= 0:
        return "The hypervolume of the search's front is 0: no trial is better than the worst one in every objective."
    until, total = found.progress.trials_until(0.95), found.progress.num_trials[-1]
    return f"95 % of the final hypervolume was reached after {until} of {total} trials."


def reference_in_words(found: Exploration) -> str:
    """The reference point of the hypervolume."""
    reference = found.progress.reference if found.progress else {}
    return ", ".join(
        f"{outcome.name} {formatting.number(outcome, value)}{formatting.unit(outcome)}" for outcome, value in reference.items()
    )
