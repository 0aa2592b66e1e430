"""The summary as text: rows of words, Markdown, CSV, and tables for a terminal."""

import csv
import io
import json
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from analysis.statistics.effects import ACCURACY_OUTCOME, SIGNIFICANCE, LevelEffect, Outcome, Summary
from analysis.statistics.intervals import Estimate
from studies.run_record import RunRecord, levels_in_words

NONE = "–"
VERDICT_STYLES = {"higher": "green", "lower": "red", "undecided": "yellow", "no data": "red", "baseline": "dim"}


def percent(estimate: Estimate | None) -> str:
    """A fraction with its interval, in percent: ``96.12 (95.40 to 96.84)``."""
    if estimate is None:
        return NONE
    return _with_interval(estimate, "")


def points(estimate: Estimate) -> str:
    """A difference of fractions with its interval, signed, in percentage points."""
    return _with_interval(estimate, "+")


def _with_interval(estimate: Estimate, sign: str) -> str:
    text = f"{100 * estimate.mean:{sign}.2f}"
    return text if estimate.num_values < 2 else f"{text} ({100 * estimate.low:{sign}.2f} to {100 * estimate.high:{sign}.2f})"


def p_value(p: float) -> str:
    """Three decimals; smaller ones as a bound."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def header(outcome: Outcome) -> list[str]:
    """Column titles of an outcome's table."""
    columns = [
        "factor",
        "level",
        "seeds",
        f"{outcome.name} % (95 %)",
        "difference, points (95 %)",
        "p",
        "corrected p",
        "verdict",
    ]
    return [*columns[:4], "test accuracy % (95 %)", *columns[4:]] if outcome == ACCURACY_OUTCOME else columns


def row(effect: LevelEffect, outcome: Outcome) -> list[str]:
    """One level in words, in the order of ``header``."""
    test = [percent(effect.test_estimate)] if outcome == ACCURACY_OUTCOME else []
    contrast = effect.contrast
    compared = [points(contrast.difference), p_value(contrast.p), p_value(contrast.corrected_p)] if contrast else [NONE] * 3
    return [
        effect.factor,
        str(effect.level),
        _seeds(effect),
        percent(effect.estimate),
        *test,
        *compared,
        effect.verdict,
    ]


def verdicts(summary: Summary) -> Iterator[str]:
    """A sentence per factor and outcome: what is decided, by how much, and what is not."""
    for factor in summary.study.factors:
        for outcome, effects in summary.effects.items():
            ours = [effect for effect in effects if effect.factor == factor and not effect.is_baseline]
            decided = [e for e in ours if e.verdict in ("higher", "lower")]
            parts = [
                f"{e.verdict} at {e.level}: {points(e.contrast.difference)} points, corrected p {p_value(e.contrast.corrected_p)}"
                for e in decided
                if e.contrast
            ]
            for verdict, words in (("undecided", "undecided at"), ("no data", "no data at")):
                if others := [str(e.level) for e in ours if e.verdict == verdict]:
                    parts.append(f"{words} {', '.join(others)}")
            yield f"{outcome.name} by {factor} (baseline {summary.study.baseline[factor]}): {'; '.join(parts)}."


def unfinished_lines(summary: Summary) -> list[str]:
    """A line for every replicate that has not finished: which, in what state, and why."""
    return [
        f"{levels_in_words(run.levels)} · seed {run.seed}: {run.status.lower()}" + (f", {run.reason}" if run.reason else "")
        for run in summary.not_finished
    ]


def method_lines(summary: Summary) -> list[str]:
    """How the numbers came about: seeds, data, recipe, versions, statistics."""
    study, runs = summary.study, [run for run in summary.runs if run.config]
    seeds = f"{len(study.seeds)} seeds ({', '.join(map(str, study.seeds))})"
    lines = [
        f"Design: {study.design.replace('_', ' ')}, {seeds}, the same in every cell. Simple effects at the baseline of the other "
        "factors; differences are paired by seed.",
        "Accuracy and sparsity are of the validation images after the last epoch; the test images were looked at once, then. "
        "Nothing was selected on either.",
        "Intervals: 95 %, Student's t over seeds: how much another seed would change, for these images. Each is for itself, so "
        "that one may exclude 0 where the corrected p-value does not decide.",
        "p: two-sided sign-flip test; corrected by Holm over the contrasts of one outcome; a verdict needs corrected "
        f"p < {SIGNIFICANCE}.",
    ]
    if runs:
        recipe = {name: value for name, value in runs[0].config.items() if name not in study.factors}
        lines.append(f"Trainable {study.trainable}; recipe: {', '.join(f'{name} {value}' for name, value in recipe.items())}.")
        lines += [f"Data digest: {', '.join(_distinct(run.data_digest for run in runs))}."]
        lines += [f"Versions: {_versions(text)}." for text in _distinct(run.versions for run in runs)]
        lines += [f"Git commit: {', '.join(_distinct(run.git_commit for run in runs)) or 'none'}."]
    return lines


def _versions(text: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in json.loads(text or "{}").items())


def _distinct(values: Iterator[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


def markdown(summary: Summary) -> str:
    """The whole summary as Markdown."""
    study = summary.study
    num_finished = len(summary.runs) - len(summary.not_finished)
    lines = [f"# {study.name}", "", study.question, ""]
    lines += [f"{num_finished} of {len(summary.runs)} replicates finished.", ""]
    lines += [f"- {verdict}" for verdict in verdicts(summary)] + [""]
    lines += [f"**{warning}**\n" for warning in summary.warnings]
    for outcome, effects in summary.effects.items():
        lines += [
            f"## {outcome.name.capitalize()}",
            "",
            _markdown_row(header(outcome)),
            _markdown_row(["---"] * len(header(outcome))),
        ]
        lines += [_markdown_row(row(effect, outcome)) for effect in effects] + [""]
    if unfinished := unfinished_lines(summary):
        lines += ["## Not finished", "", *(f"- {line}" for line in unfinished), ""]
    lines += ["## Method", "", *(f"- {line}" for line in method_lines(summary)), ""]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def terminal(summary: Summary) -> Group:
    """The summary for a terminal of 80 columns; the files say more."""
    parts: list[Table | Text] = [Text(summary.study.question, "bold"), Text()]
    for outcome, effects in summary.effects.items():
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column(f"{outcome.name.capitalize()} (%)", overflow="fold")  # long names wrap, numbers never
        for title in ("seeds", "mean", "from baseline (95 %)", "Holm p"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        last_factor = ""
        for effect in effects:
            if effect.factor != last_factor:
                table.add_row(Text(effect.factor, "bold"))
            last_factor = effect.factor
            table.add_row(*_terminal_row(effect), Text(effect.verdict, VERDICT_STYLES[effect.verdict]))
        parts += [table, Text()]
    parts += [Text(f"• {verdict}") for verdict in verdicts(summary)]
    parts += [Text(warning, "yellow") for warning in summary.warnings]
    if unfinished := unfinished_lines(summary):
        parts.append(Text(f"{len(unfinished)} of {len(summary.runs)} replicates have not finished:", "red"))
        parts += [Text(f"  {line}", "red") for line in unfinished]
    return Group(*parts)


def _terminal_row(effect: LevelEffect) -> list[Text]:
    mean = f"{100 * effect.estimate.mean:.2f}" if effect.estimate else NONE
    contrast = effect.contrast
    compared = [points(contrast.difference), p_value(contrast.corrected_p)] if contrast else ["", ""]
    return [Text(cell) for cell in (f" {effect.level}", _seeds(effect), mean, *compared)]


def _seeds(effect: LevelEffect) -> str:
    """How many replicates of the cell finished, and of how many if not all."""
    num_finished = effect.estimate.num_values if effect.estimate else 0
    return str(num_finished) if num_finished == effect.num_planned else f"{num_finished} of {effect.num_planned}"


def effects_csv(summary: Summary) -> str:
    """One line per outcome, factor and level, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = "outcome factor level is_baseline num_planned num_finished mean low high".split()
    columns += "difference difference_low difference_high p corrected_p verdict".split()
    writer.writerow(columns)
    for outcome, effects in summary.effects.items():
        for e in effects:
            mean = [e.estimate.num_values, e.estimate.mean, e.estimate.low, e.estimate.high] if e.estimate else [0, "", "", ""]
            c = e.contrast
            compared = [c.difference.mean, c.difference.low, c.difference.high, c.p, c.corrected_p] if c else [""] * 5
            writer.writerow([outcome.metric, e.factor, e.level, e.is_baseline, e.num_planned, *mean, *compared, e.verdict])
    return out.getvalue()


def replicates_csv(runs: Sequence[RunRecord]) -> str:
    """One line per replicate: identity, levels, seed, status, reason, every metric."""
    out = io.StringIO()
    factors = sorted({name for run in runs for name in run.levels})
    metrics = sorted({name for run in runs for name in run.metrics})
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["identity", "run_id", *factors, "seed", "status", "reason", *metrics])
    for run in runs:
        levels = [run.levels.get(name, "") for name in factors]
        values = [run.metrics.get(name, "") for name in metrics]
        writer.writerow([run.identity, run.run_id, *levels, run.seed, run.status, run.reason, *values])
    return out.getvalue()
