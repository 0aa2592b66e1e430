"""Tables for a paper: one LaTeX file per outcome (booktabs), and a document that shows them all.

What is best is bold only where that is decided: better than every other level of its factor (or than every other
configuration), see ``decided_best``, and no verdict of the report says otherwise.
"""

import re
import unicodedata
from collections.abc import Sequence

from analysis.reporting import formatting
from analysis.reporting.document_model import title
from analysis.reporting.topics.rankings import shown
from analysis.statistics.data.cells import finite_values, group_by_levels
from analysis.statistics.data.estimates import Estimate
from analysis.statistics.data.level_cells import FACTORIAL, level_cells
from analysis.statistics.data.outcomes import Outcome, outcomes_of
from analysis.statistics.effects.adjusted_means import level_values
from analysis.statistics.effects.best_level import decided_best
from analysis.statistics.effects.level_effects import LevelEffect
from analysis.statistics.search.rankings import Configuration, Ranking
from analysis.statistics.summary import Summary
from studies.run_record import level_in_words, levels_in_words

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "µ": r"$\mu$",
    "²": r"\textsuperscript{2}",
    "“": "``",
    "”": "''",
    "’": "'",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
}
ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
"""By Unicode's combining characters."""
DOCUMENT = "tables.tex"
PREAMBLE = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage[margin=2cm]{geometry}
\begin{document}
"""


def latex_files(summary: Summary) -> dict[str, str]:
    """File names and contents: a table per outcome, and ``tables.tex``, which inputs them and compiles as it is."""
    tables = {_file_name(outcome): _table(summary, outcome) for outcome in outcomes_of(summary.study)}
    tables = {name: text for name, text in tables.items() if text}
    inputs = "".join(f"\\input{{{name}}}\n" for name in tables) or "No outcome has a table.\n"
    return {**tables, DOCUMENT: f"{PREAMBLE}{inputs}\\end{{document}}\n"}


def escaped(text: str) -> str:
    """A text that LaTeX sets as it stands, in ASCII; of characters that cannot be had so there are question marks."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else "?"
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return f"{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return "?"


def _file_name(outcome: Outcome) -> str:
    return re.sub(r"[^a-z0-9]+", "_", outcome.name.lower()).strip("_") + ".tex"


def _table(summary: Summary, outcome: Outcome) -> str:
    """Of effects, else of the first ranking; empty where there is neither."""
    if outcome in summary.effects:
        return _effect_table(summary, outcome)
    return _ranking_table(summary, summary.rankings[0], outcome) if summary.rankings else ""


def _effect_table(summary: Summary, outcome: Outcome) -> str:
    effects = [effect for effect in summary.effects[outcome] if effect.num_cells]
    lines: list[str] = []
    for factor in dict.fromkeys(effect.factor for effect in effects):
        of_factor = [effect for effect in effects if effect.factor == factor]
        best = _best_level(summary, outcome, of_factor)
        lines += [r"\addlinespace"] if lines else []
        lines.append(rf"\multicolumn{{5}}{{@{{}}l}}{{\textit{{{escaped(_heading(of_factor[0]))}}}}} \\")
        lines += [_effect_line(outcome, effect, is_best=effect is best) for effect in of_factor]
    points = " (points)" if outcome.is_fraction else ""
    head = rf"& seeds & {escaped(outcome.name + formatting.unit(outcome))} & difference{points} & $p$ \\"
    what = "Means over all cells that have a level" if summary.study.design in FACTORIAL else "Simple effects"
    caption = (
        f"{title(outcome)} in the study {summary.study.name}. {what}, ± half of the 95 % interval (Student's t over seeds); "
        "differences from the baseline, paired by seed, with their 95 % intervals; p of the exact sign-flip test, corrected "
        "by Holm over the contrasts of this table. Bold: decidedly better than every other level of its factor."
    )
    return _float(summary, outcome, r"@{}p{0.3\linewidth}rrrr@{}", head, lines, caption)


def _heading(effect: LevelEffect) -> str:
    return f"{effect.factor}, in the cell {levels_in_words(effect.in_cell)}" if effect.in_cell else effect.factor


def _effect_line(outcome: Outcome, effect: LevelEffect, *, is_best: bool) -> str:
    level = rf"\raggedright\quad {escaped(level_in_words(effect.level))}"
    contrast = effect.contrast
    compared = ["baseline" if effect.is_baseline else "--", ""]
    if contrast:
        compared = [_difference(outcome, contrast.difference), _p(contrast.corrected_p)]
    mean = _mean(outcome, effect.estimate, is_best=is_best)
    return " & ".join([level, escaped(formatting.seeds(effect.num_finished, effect.num_planned)), mean, *compared]) + r" \\"


def _best_level(summary: Summary, outcome: Outcome, effects: Sequence[LevelEffect]) -> LevelEffect | None:
    """The level that is decidedly better than all others of its factor, where the verdicts agree."""
    levels = level_cells(summary.study, summary.runs)
    by_level = dict(
        zip(((one.factor, level_in_words(one.level)) for one in levels), level_values(levels, outcome.metric)[0], strict=True)
    )
    values = [by_level[effect.factor, level_in_words(effect.level)] for effect in effects]
    place = decided_best(values, outcome.direction)
    if place is None:
        return None
    better, worse = ("higher", "lower") if outcome.direction == "maximize" else ("lower", "higher")
    if effects[place].is_baseline:
        agrees = all(effect.is_baseline or effect.verdict == worse for effect in effects)
    else:
        agrees = effects[place].verdict == better
    return effects[place] if agrees else None


def _ranking_table(summary: Summary, ranking: Ranking, outcome: Outcome) -> str:
    found = [configuration for configuration in shown(ranking) if outcome in configuration.estimates]
    by_levels = group_by_levels(run for run in summary.asked if run.role == ranking.kind)
    values = [finite_values(by_levels[frozenset(one.levels.items())], outcome.metric) for one in found]
    best = decided_best(values, outcome.direction)
    lines = [_ranking_line(summary, outcome, one, is_best=place == best) for place, one in enumerate(found)]
    head = rf"rank & configuration & seeds & {escaped(outcome.name + formatting.unit(outcome))} \\"
    kind = {"cell": "Best cells", "search": "Best of the search", "finalist": "Finalists"}[ranking.kind]
    caption = (
        f"{title(outcome)} in the study {summary.study.name}. {kind}, ranked by {summary.primary.name}; mean ± half of the "
        "95 % interval (Student's t over seeds). Bold: decidedly better than all others shown."
    )
    return _float(summary, outcome, r"@{}rp{0.5\linewidth}rr@{}", head, lines, caption) if lines else ""


def _ranking_line(summary: Summary, outcome: Outcome, configuration: Configuration, *, is_best: bool) -> str:
    cells = [
        str(configuration.rank or "--"),
        rf"\raggedright {escaped(formatting.configuration_in_words(summary.study, configuration.levels))}",
        escaped(formatting.seeds(configuration.num_finished(outcome), configuration.num_planned)),
        _mean(outcome, configuration.estimates.get(outcome), is_best=is_best),
    ]
    return " & ".join(cells) + r" \\"


def _float(summary: Summary, outcome: Outcome, columns: str, head: str, lines: Sequence[str], caption: str) -> str:
    label = re.sub(r"[^A-Za-z0-9-]+", "-", f"{summary.study.name}-{outcome.metric}")
    inner = "\n".join(["\\toprule", head, "\\midrule", *lines, "\\bottomrule"])
    return (
        "% needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\\small\n"
        f"\\caption{{{escaped(caption)}}}\n\\label{{tab:{label}}}\n\\vspace{{0.6em}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n{inner}\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _mean(outcome: Outcome, estimate: Estimate | None, *, is_best: bool) -> str:
    if estimate is None:
        return "--"
    mean = formatting.number(outcome, estimate.mean)
    half = "" if estimate.num_values < 2 else rf" \pm {_tex_number(formatting.number(outcome, estimate.high - estimate.mean))}"
    text = _tex_number(mean) + half
    return rf"\boldmath$\mathbf{{{text}}}$" if is_best else f"${text}$"


def _difference(outcome: Outcome, estimate: Estimate) -> str:
    mean, low, high = (
        _tex_number(formatting.number(outcome, bound, "+")) for bound in (estimate.mean, estimate.low, estimate.high)
    )
    return f"${mean}$" if estimate.num_values < 2 else f"${mean}$ (${low}$, ${high}$)"


def _tex_number(text: str) -> str:
    """1.5e-07 with its power of ten."""
    mantissa, _, power = text.partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if power else mantissa


def _p(p: float) -> str:
    text = formatting.p_value(p)
    return f"${text}$"
