"""Analysis of variance of a factorial design with seeds as blocks: main effects, interactions of two factors, aliases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import OLS

from analysis.statistics.data.cell_by_seed import FloatArray, seed_equations, two_way_fit, value_matrix
from analysis.statistics.data.cells import Cell, group_by_levels
from analysis.statistics.data.effect_coding import Term, rank, span, term_columns
from analysis.statistics.data.level_cells import FACTORIAL
from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import holm
from analysis.statistics.effects.variance_shares import VarianceShare, variance_share
from studies.run_record import RunRecord, StudyRecord

MOST_PARAMETERS = 300
"""A model with more is fitted without interactions."""
RELATIVE_ROUNDING = 1e-18
"""A residual mean square that is so much smaller than the values' squares is rounding: the outcome does not vary."""


@dataclass(frozen=True)
class VarianceLine:
    """One F test of the table: of a term with its aliases, or of all interactions of three or more factors (``term`` is empty).

    ``full_df`` is the degrees of freedom of a complete design; ``df`` is less where cells are missing or other terms share them.
    ``sum_of_squares`` is in the squared unit of the outcome, ``share`` is the partial ω².
    """

    term: Term
    aliases: Sequence[Term]
    full_df: int
    df: int
    sum_of_squares: float
    f: float
    p: float
    corrected_p: float
    share: VarianceShare


@dataclass(frozen=True)
class VarianceTable:
    """Type II sums of squares of an outcome, within seeds, against the interaction of cells and seeds."""

    lines: Sequence[VarianceLine]
    not_estimable: Sequence[Term]
    """Terms that the design cannot estimate beside those of the lines."""
    residual_df: int
    residual_mean_square: float
    num_values: int
    has_interactions: bool
    """Whether there was room for them (see ``MOST_PARAMETERS``)."""


def aliases_of(table: VarianceTable | None, factor: str) -> Sequence[Term]:
    """The terms that the design cannot separate from a factor's main effect."""
    terms = [(line.term, *line.aliases) for line in (table.lines if table else ())]
    return [term for together in terms if (factor,) in together for term in together if term != (factor,)]


@dataclass(frozen=True)
class _Terms:
    """The terms that are tested, each with the others that no cell tells from it."""

    columns: Mapping[Term, FloatArray]
    aliases: Mapping[Term, list[Term]]


def variance_table(study: StudyRecord, runs: Sequence[RunRecord], outcome: Outcome) -> VarianceTable | None:
    """The analysis of variance of a factorial study in a randomised block design, the seeds being the blocks.

    The model is seed + main effects + interactions of two factors, with independent normal noise of one variance. The error is
    the interaction of cells and seeds: what is left when every cell and every seed has its own mean. Interactions of three or
    more factors have a line of their own and do not inflate it. Each term is tested against the model of all terms that do not
    contain it (type II sums of squares), which needs no balance (Langsrud 2003). p is corrected by Holm over the table's lines.
    Least squares are by statsmodels.

    Returns:
        None for other designs, with fewer than two seeds or cells, or where nothing varies.
    """
    if study.design not in FACTORIAL:
        return None
    cells = list(group_by_levels(run for run in runs if run.role == "cell").values())
    values_CS, _ = value_matrix(cells, outcome.metric)
    places = [place for place, row in enumerate(values_CS) if np.isfinite(row).any()]
    cells, values_CS = [cells[place] for place in places], values_CS[places]
    if len(cells) < 2 or values_CS.shape[1] < 2:
        return None
    known = np.isfinite(values_CS)
    means, seeds = two_way_fit(values_CS)
    residual_df = int(known.sum()) - len(cells) - rank(seed_equations(known))
    error = float(np.nansum((values_CS - means[:, None] - seeds) ** 2))
    if residual_df < 1 or error <= RELATIVE_ROUNDING * residual_df * float(np.nanmax(np.abs(values_CS))) ** 2:
        return None
    return _table(study, cells, values_CS, residual_df, error)


def _table(study: StudyRecord, cells: Sequence[Cell], values_CS: FloatArray, residual_df: int, error: float) -> VarianceTable:
    all_terms = term_columns(study, cells)
    has_interactions = sum(columns.shape[1] for columns in all_terms.values()) <= MOST_PARAMETERS
    if not has_interactions:
        all_terms = {term: columns for term, columns in all_terms.items() if len(term) == 1}
    terms = _told_apart(all_terms)
    fits = _Fits(terms.columns, values_CS)
    residual = error / residual_df
    num = int(np.isfinite(values_CS).sum())
    lines = []
    for term, columns in terms.columns.items():
        others = [other for other in terms.columns if not set(term) <= set(other)]
        without, with_it = fits.of(others), fits.of([*others, term])
        squares, df = without[0] - with_it[0], with_it[1] - without[1]
        if df:
            full_df = columns.shape[1]
            lines.append(_line(term, terms.aliases[term], full_df, df, max(0.0, squares), residual, residual_df, num))
    left, model_rank = fits.of(list(terms.columns))
    if (rest := num - residual_df - model_rank - fits.seed_rank) > 0:
        lines.append(_line((), [], rest, rest, max(0.0, left - error), residual, residual_df, num))
    corrected = holm([line.p for line in lines])
    lines = [replace(line, corrected_p=p) for line, p in zip(lines, corrected, strict=True)]
    named = {term for line in lines for term in (line.term, *line.aliases)}
    lost = [term for term in all_terms if term not in named]
    return VarianceTable(lines, lost, residual_df, residual, num, has_interactions)


def _line(
    term: Term, aliases: Sequence[Term], full_df: int, df: int, squares: float, residual: float, residual_df: int, num: int
) -> VarianceLine:
    f = squares / df / residual
    p = float(stats.f.sf(f, df, residual_df))
    return VarianceLine(term, aliases, full_df, df, squares, f, p, p, variance_share(f, df, residual_df, num))


def _told_apart(all_terms: Mapping[Term, FloatArray]) -> _Terms:
    """Of terms whose columns span the same, the mean apart, the first; the others are its aliases."""
    kept: dict[Term, FloatArray] = {}
    aliases: dict[Term, list[Term]] = {}
    bases = {term: span(columns - columns.mean(axis=0)) for term, columns in all_terms.items()}
    for term, columns in all_terms.items():
        same = next((other for other in kept if _are_same(bases[other], bases[term])), None)
        if same:
            aliases[same].append(term)
        elif bases[term].size:
            kept[term], aliases[term] = columns, []
    return _Terms(kept, aliases)


def _are_same(first: FloatArray, second: FloatArray) -> bool:
    """Whether two orthonormal bases span the same."""
    num = first.shape[1]
    return num == second.shape[1] and bool(np.isclose(np.sum((first.T @ second) ** 2), num))


class _Fits:
    """Least-squares fits of sets of terms to the values, means of the seeds taken out.

    Rows are first rotated onto the columns' span, which changes no sum of squares and leaves few rows (Frisch, Waugh, Lovell).
    """

    def __init__(self, columns: Mapping[Term, FloatArray], values_CS: FloatArray) -> None:
        known = np.isfinite(values_CS)
        rows, seeds = np.nonzero(known)
        everything = np.hstack([np.zeros((len(known), 0)), *columns.values()])[rows]
        joined = np.hstack([everything, values_CS[known][:, None]])
        counts = np.bincount(seeds, minlength=known.shape[1])
        sums = np.array([np.bincount(seeds, column, minlength=len(counts)) for column in joined.T])
        self._rotated: FloatArray = np.asarray(np.linalg.qr(joined - (sums / counts).T[seeds], mode="r"))
        widths = np.cumsum([0, *(of_term.shape[1] for of_term in columns.values())])
        self._places = {term: range(widths[i], widths[i + 1]) for i, term in enumerate(columns)}
        self.seed_rank = len(counts)

    def of(self, terms: Sequence[Term]) -> tuple[float, int]:
        """What is left of the values' sum of squares, and the model's rank."""
        response = self._rotated[:, -1]
        places = [place for term in terms for place in self._places[term]]
        basis = span(self._rotated[:, places])
        if not basis.size:
            return float(response @ response), 0
        return float(OLS(response, basis, hasconst=False).fit().ssr), basis.shape[1]
