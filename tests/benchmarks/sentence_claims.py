"""The claims that a report makes, read back from its Markdown: every sentence of the answer, and the tables that it is made of.

A sentence that no reader knows is an error, so that a new kind of sentence cannot go unmeasured.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from studies.run_record import Level, StudyRecord, level_in_words

N = r"[-+×]?[\d,.]*\d(?:e[-+]?\d+)?"
"""A number as reports write it: ``+1.20``, ``1,000``, ``6.1e-05``, ``×0.612``."""
BOUNDS = rf"(?P<low>{N}) to (?P<high>{N})"
INTERVAL = rf"{N} \({BOUNDS}\)"
EXPLORATORY = "What follows is exploratory: "
ALL_EXPLORATORY = "Claims: all are exploratory."
PRIMARY = "validation accuracy"
HALF_A_POINT = 0.5
"""The largest difference of it that is called small."""
THE_SAME = "the same"
"""In place of the factor, of a claim about the change that the answer's first line names."""
NO_FINDINGS = ("Not finished", "Design", "Method")
"""How the titles of lists begin that say how a study was run; all other lists are read as findings."""


class UnknownSentenceError(Exception):
    """A sentence of a report that no reader knows."""


@dataclass(frozen=True)
class Claim:
    """One statement of a report that a planted truth can contradict.

    Numbers are as they are printed: fractions in percent, their differences in points.
    """

    kind: str
    outcome: str = ""
    factor: str = ""
    level: Level = None
    term: tuple[tuple[str, ...], ...] = ()
    """Of an interaction: the term, and those that the design cannot tell from it."""
    configuration: str = ""
    excluded: tuple[str, ...] = ()
    """Configurations that are said not to be the best."""
    role: str = ""
    sign: int = 0
    """1 for higher, -1 for lower."""
    number: float = 0.0
    low: float = 0.0
    high: float = 0.0
    is_consistent: bool = True
    """Of a claim that can contradict itself: whether it does not."""
    is_confirmatory: bool = True
    """Whether the report holds an error over it; it does over all claims where it does not say which are exploratory."""


Reader = Callable[[re.Match[str], StudyRecord], Iterator[Claim]]
PartReader = Callable[[re.Match[str], str, str, StudyRecord], Iterator[Claim]]
SIGNS: Mapping[str, int] = {
    **dict.fromkeys(("rises", "higher", "raises"), 1),
    **dict.fromkeys(("falls", "lower", "lowers"), -1),
}
"""Words that claim a direction."""


def claims_of(markdown: str, study: StudyRecord) -> list[Claim]:
    """All claims of a report.

    Raises:
        UnknownSentenceError: A sentence of the answer, or a warning, is of no known kind.
    """
    answer, *sections = re.split(r"^## ", markdown, flags=re.MULTILINE)
    is_confirmatory = ALL_EXPLORATORY not in markdown
    found = _of_lines(_sentences(answer, study), study, is_confirmatory=is_confirmatory)
    for section in sections:
        title, *lines = section.splitlines()
        items = [] if title.startswith(NO_FINDINGS) else [_plain(line[2:]) for line in lines if line.startswith("- ")]
        found += _of_lines(items, study, is_confirmatory=is_confirmatory)
        is_labelled = EXPLORATORY in markdown and not any(line.startswith("Confirmatory: ") for line in lines)
        claims = _of_table(_plain(title), [_cells(line) for line in lines if line.startswith("|")], study)
        found += _marked(claims, is_confirmatory=is_confirmatory and not is_labelled)
    return list(dict.fromkeys(found))


def _of_lines(lines: Iterable[str], study: StudyRecord, *, is_confirmatory: bool) -> list[Claim]:
    """The claims of sentences; those behind the one that says so are exploratory."""
    found: list[Claim] = []
    for line in lines:
        is_confirmatory &= not line.startswith(EXPLORATORY)
        for claim in _read(line, study):
            found += _marked([_of_the_same_change(claim, found)], is_confirmatory=is_confirmatory)
    return found


def _of_the_same_change(claim: Claim, before: Sequence[Claim]) -> Claim:
    """A claim of the paragraph that is about the change that the line before it names."""
    if claim.factor != THE_SAME:
        return claim
    leading = next(one for one in before if one.kind == "direction")
    if claim.term:
        return replace(claim, outcome=leading.outcome, factor="", term=((leading.factor, *claim.term[0]),))
    return replace(claim, factor=leading.factor, level=leading.level)


def _marked(claims: Iterable[Claim], *, is_confirmatory: bool) -> list[Claim]:
    return [replace(claim, is_confirmatory=is_confirmatory) for claim in claims]


def _sentences(answer: str, study: StudyRecord) -> Iterator[str]:
    """What stands before the first section, without the title, the question and marks."""
    for line in answer.splitlines():
        text = _plain(line).removeprefix("- ").removeprefix("**").removesuffix("**").strip()
        if text and not line.startswith("# ") and text != study.question:
            yield text


def _plain(text: str) -> str:
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace("&lt;", "<").replace("&amp;", "&").strip()


def _read(line: str, study: StudyRecord) -> list[Claim]:
    """The claims of a line: of one sentence, or of a paragraph."""
    for pattern, reader in READERS.items():
        if found := re.fullmatch(pattern, line):
            return list(reader(found, study))
    sentences = re.split(r"(?<=\.) (?=[A-Z])", line)
    if len(sentences) == 1:
        raise UnknownSentenceError(f"no reader knows the sentence {line!r}")
    return [claim for sentence in sentences for claim in _read(sentence, study)]


def number_of(text: str) -> float:
    """A printed number; of a ratio, how far it is from 1 in percent: ``×0.612`` is -38.8."""
    return 100 * (float(text[1:]) - 1) if text.startswith("×") else float(text.replace(",", ""))


def level_of(study: StudyRecord, factor: str, text: str) -> Level:
    """The level that a report writes so."""
    for level in study.factors[factor]:
        if level_in_words(level) == text:
            return level
    raise UnknownSentenceError(f"{text!r} is no level of {factor}")


def outside_of_brackets(text: str, separator: str) -> list[str]:
    """The parts of a text between separators that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth and text.startswith(separator, place):
            parts.append(text[start:place])
            start = place + len(separator)
    return [*parts, text[start:]]


def _nothing(_found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    """Counts, and what the design is: no claim that a planted truth could contradict."""
    yield from ()


def _effect(found: re.Match[str], study: StudyRecord) -> Iterator[Claim]:
    """A sentence on a factor and an outcome: its parts are claims of their own."""
    outcome, factor = found["outcome"], found["factor"]
    for part in outside_of_brackets(found["parts"], "; "):
        yield from _part(part, outcome, factor, study)


def _part(part: str, outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    for pattern, reader in PARTS.items():
        if found := re.fullmatch(pattern, part):
            yield from reader(found, outcome, factor, study)
            return
    raise UnknownSentenceError(f"no reader knows what is said of {factor}: {part!r}")


def _trend(found: re.Match[str], outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    """That an outcome rises or falls with a factor, and by how much at every level that is named."""
    sign = SIGNS[found["verb"]]
    yield Claim("trend", outcome, factor, sign=sign)
    for one in found["found"].split("; "):
        at = _matched(rf"(?P<mean>{N})(?: points)? at (?P<level>.+), 95 % {BOUNDS}", one)
        level = level_of(study, factor, at["level"])
        is_more = 1 if level > study.baseline[factor] else -1  # type: ignore[operator]
        yield _direction(outcome, factor, level, at, sign * is_more)


def _of_level(found: re.Match[str], outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    yield _direction(outcome, factor, level_of(study, factor, found["level"]), found, SIGNS[found["verb"]])


def _no_effect(found: re.Match[str], outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    for level in _levels(found["levels"], factor, study):
        yield Claim("no effect larger than", outcome, factor, level, number=number_of(found["bound"]))


def _equal(found: re.Match[str], outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    for level in _levels(found["levels"], factor, study):
        yield Claim("equal in every seed", outcome, factor, level)


def _undecided_levels(found: re.Match[str], outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    for one in outside_of_brackets(found["found"], ", "):
        yield from _undecided(one, outcome, factor, study)


def _on_test(found: re.Match[str], _outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    """What the test images say otherwise than the validation images; an undecided one claims nothing."""
    if found["verdict"] in SIGNS:
        level = level_of(study, factor, found["level"])
        yield _direction("test accuracy", factor, level, found, SIGNS[found["verdict"]])


def _no_part(_found: re.Match[str], _outcome: str, _factor: str, _study: StudyRecord) -> Iterator[Claim]:
    """What was counted, or is not there."""
    yield from ()


def _direction(outcome: str, factor: str, level: Level, numbers: re.Match[str], sign: int) -> Claim:
    mean = number_of(numbers["mean"])
    return Claim("direction", outcome, factor, level, sign=sign, is_consistent=sign * mean > 0)


def _levels(named: str | None, factor: str, study: StudyRecord) -> list[Level]:
    """Those that are named, or all but the baseline's."""
    if named is None:
        return [level for level in study.factors[factor] if level != study.baseline[factor]]
    return [level_of(study, factor, text) for text in named.split(", ")]


def _undecided(one: str, outcome: str, factor: str, study: StudyRecord) -> Iterator[Claim]:
    found = _matched(r"(?P<level>.+?) \((?P<rest>.*)\)", one)
    level = level_of(study, factor, found["level"])
    yield Claim("undecided", outcome, factor, level)
    for rest in found["rest"].split("; ")[1:]:
        if enough := re.fullmatch(
            r"(?P<num>\d+) more seeds?(?: would settle it if the true difference is the measured one)?", rest
        ):
            yield Claim("more seeds", outcome, factor, level, number=number_of(enough["num"]))
        else:
            never = _matched(r"(?P<num>[\d,]+)(?: seeds)? would not(?: settle it)?", rest)
            yield Claim("seeds that are not enough", outcome, factor, level, number=number_of(never["num"]))


def _matched(pattern: str, text: str) -> re.Match[str]:
    found = re.fullmatch(pattern, text)
    if not found:
        raise UnknownSentenceError(f"no reader knows {text!r}")
    return found


def _interactions(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    for one in outside_of_brackets(found["found"], ", "):
        named = _matched(rf"(?P<terms>.+) \(partial ω² {N} \({BOUNDS}\)\)", one)
        terms = tuple(tuple(term.split(" × ")) for term in named["terms"].split(" or "))
        yield Claim("interaction", found["outcome"], term=terms)


def _decided_best(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    """That one is better than every other, or has the best mean; its interval allows for its having been chosen."""
    if found["how"] == "best":
        yield Claim("best", found["outcome"], configuration=found["best"], role=found["role"])
    if found["low"]:
        low, high = number_of(found["low"]), number_of(found["high"])
        yield Claim("interval of the best", found["outcome"], configuration=found["best"], role=found["role"], low=low, high=high)


def _associated(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    named = found["factors"].partition(" and ")[0].split(", ")
    for place, one in enumerate(named):
        share = _matched(rf"(?P<factor>\S+) \((?P<mean>{N}) ± (?P<error>{N}) %\)", one)
        yield Claim("associated beyond chance", found["outcome"], share["factor"])
        if not place:
            yield Claim("most associated", found["outcome"], share["factor"])


PARTS: Mapping[str, PartReader] = {
    r"(?P<verb>rises|falls) with \S+ \((?P<found>.*)\)": _trend,
    rf"(?P<verb>higher|lower) at (?P<level>.+) \((?P<mean>{N})(?: points)?, 95 % {BOUNDS}\)": _of_level,
    rf"no effect larger than (?P<bound>{N})(?: points| %)?(?: at (?P<levels>.+))?": _no_effect,
    r"equal in every seed at (?P<levels>.+)": _equal,
    r"undecided at (?P<found>.+)": _undecided_levels,
    rf"on the test images (?P<level>.+) is (?P<verdict>[a-z ]+) \((?P<mean>{N}) points(?:, 95 % {BOUNDS})?\)": _on_test,
    r"no data at .+|not in the design: .+|nothing to compare": _no_part,
    r"on other images .+ may differ by .+ points": _no_part,
    r"\d+ of \d+ replicates? collapses? at .+": _no_part,
    r"without the seeds of these the difference is .+": _no_part,
}
"""By what they look like, the parts of a sentence on a factor."""


def _headline(found: re.Match[str], study: StudyRecord) -> Iterator[Claim]:
    """That a factor matters, by how much one of its levels, and perhaps that it matters most."""
    outcome, factor, sign = found["outcome"], found["factor"], SIGNS[found["verb"]]
    mean = number_of(found["mean"]) * (sign if found["how"] == "by" else 1)
    level = level_of(study, factor, found["level"])
    yield Claim("direction", outcome, factor, level, sign=sign, is_consistent=sign * mean > 0)
    if found["most"]:
        yield Claim("matters most", outcome, factor)


def _decided_as_well(found: re.Match[str], study: StudyRecord) -> Iterator[Claim]:
    """Factors, levels and signed differences; of many the last are counted."""
    for one in re.sub(r" and \d+ more$", "", found["found"]).split("), "):
        named = _matched(rf"(?P<factor>\S+) (?P<level>.+) \((?P<mean>{N})(?: points)?\)?", one)
        level, mean = level_of(study, named["factor"], named["level"]), number_of(named["mean"])
        yield Claim("direction", found["outcome"], named["factor"], level, sign=1 if mean > 0 else -1)


def _goes_with(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    yield Claim("most associated", found["outcome"], found["factor"])


def _small(found: re.Match[str], study: StudyRecord) -> Iterator[Claim]:
    """Of the primary outcome, no more than half a point."""
    for one in re.sub(r" and \d+ more$", "", found["found"]).split(", "):
        factor, _, level = one.partition(" ")
        yield Claim("no effect larger than", PRIMARY, factor, level_of(study, factor, level), number=HALF_A_POINT)


def _same_change(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    """What the same change does to costs."""
    for one in re.finditer(rf"the (?P<outcome>spikes per neuron|synaptic operations) by {N} \(95 % {BOUNDS}\)", found[0]):
        low, high = (number_of(f"×{one[bound]}") for bound in ("low", "high"))
        yield Claim("interval of a difference", one["outcome"], THE_SAME, low=low, high=high)


def _interacts(found: re.Match[str], _study: StudyRecord) -> Iterator[Claim]:
    for other in re.split(", | and ", found["others"]):
        yield Claim("interaction", "", THE_SAME, term=((other,),))


VALUE = rf"{N}(?: \({BOUNDS}\))?"
ONE = r"(?:(?!\. [A-Z]).)+"
"""What does not go on into the next sentence of a paragraph."""
READERS: Mapping[str, Reader] = {
    rf"The same change multiplies {ONE}\.": _same_change,
    rf"How much depends on (?P<others>{ONE}), with which it interacts\.": _interacts,
    rf"Shown to be small: (?P<found>{ONE})\.": _small,
    r"(?P<outcome>.+?) by (?P<factor>\S+)(?: \((?P<context>.*?)\))?: (?P<parts>.+)\.": _effect,
    r"(?P<outcome>.+): factors that interact, so that the effect of one depends on the other: (?P<found>.+?)"
    r"(?:; \d+ other pairs? (?:is|are) undecided)?(?:; not told apart .+)?\.": _interactions,
    r".+: none of the \d+ tested interactions of two factors is decided(?:; not told apart .+)?\.": _nothing,
    r".+: not told apart from a factor's own effect: .+\.": _nothing,
    r"(?P<outcome>.+) is most associated with (?P<factors>.+): shares of its variance by fANOVA(?:; not beyond chance .+)?\.": (
        _associated
    ),
    r".+ is associated with no factor beyond chance \(fANOVA\)\.": _nothing,
    rf"(?P<how>best) (?P<role>cell|finalist) by (?P<outcome>.+?): (?P<best>.+?): {VALUE}(?: %)? over [\d of]+ (?:fresh )?seeds, "
    r"selected on this value.*; better than .+, paired by seed .+": _decided_best,
    rf"(?P<role>cell|finalist) with (?P<how>the highest mean) (?P<outcome>.+?): (?P<best>.+?): {VALUE}(?: %)? over [\d of]+ "
    r"(?:fresh )?seeds?, selected on this value.*; whether it is the best is undecided.+": _decided_best,
    r"best (?:cell|finalist) by .+: not known, because .+": _nothing,
    r"highest .+ over \d+ (?:fresh )?seeds?, selected on this value.*": _nothing,
    r"(?P<outcome>.+): in what the search tried, it goes most with (?P<factor>\S+) \(.+ by fANOVA\)\.": _goes_with,
    r".+: no factor stands out in what the search tried\.": _nothing,
    r"Which factors matter more than chance would show cannot be told from this sample.+": _nothing,
    rf"{EXPLORATORY}.+": _nothing,
    rf"(?P<factor>\S+)(?: \(or .+?\))? matters(?P<most> most)? for (?P<outcome>.+?): (?P<level>.+) instead of .+ "
    rf"(?P<verb>raises|lowers) it (?P<how>by|to) (?P<mean>{N})(?: points)?(?: \(95 % {BOUNDS}\))?\.": _headline,
    rf"Decided as well for (?P<outcome>.+?): (?P<found>{ONE})\.": _decided_as_well,
    rf"But on (?:the test|other) images {ONE}\.": _nothing,  # the sentence on the factor says it too
    r"No effect on .+ is decided with \d+ seeds?\.|\d+ seeds? cannot decide .+\.|Nothing is compared yet: .+\.": _nothing,
    rf"The sign-flip test has p {ONE}\.|Whether another factor matters more is not decided\.": _nothing,
    rf"(?:Undecided|Equal in every seed): {ONE}\.": _nothing,
    r"No importance is given for .+": _nothing,
    r"No surrogate model predicts .+ No partial dependence is drawn\.": _nothing,
    r"Associations in an adaptive sample are not effects\. .+": _nothing,
    r"\d+ % of the final hypervolume was reached after \d+ of \d+ trials\.": _nothing,
    r"\d+ (?:replicates|trials of the search|replicates of finalists), \d+ configurations: .+\.": _nothing,
    r"No level is compared with another: .+": _nothing,
    r"On the Pareto front of .+": _nothing,
    r"\d+ of \d+ replicates finished.*\.": _nothing,
    r"With \d+ seeds? and \d+ contrasts? no corrected p-value can fall below .+ seeds\.": _nothing,
    r".+: \d+ of \d+ replicates have no value of .+": _nothing,
    r"\d+ of \d+ seeds have a result in every cell\. .+": _nothing,
    r".+: \d+ of \d+ replicates have not finished; its numbers are of the others, which may make it look better than it is\.": (
        _nothing
    ),
    r"There is one seed: .+": _nothing,
}
"""By what they look like, the sentences of a report."""


def _cells(line: str) -> list[str]:
    return [_plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _of_table(title: str, lines: Sequence[Sequence[str]], study: StudyRecord) -> Iterator[Claim]:
    """The claims of a table's cells: intervals and verdicts. Who is on a front is said of the means, and claims no more."""
    if len(lines) < 2:
        return
    columns, rows = list(lines[0]), [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    if {"factor", "level", "verdict", "corrected p"} <= set(columns):
        for row in rows:
            yield from _of_effect(row, study)
    elif title.startswith("Analysis of variance: "):
        for row in rows:
            yield from _of_variance(row, title.removeprefix("Analysis of variance: "))
    elif title == "Rank stability":
        role = next(role for role in ("cell", "finalist") if role in columns)
        outcome = columns[columns.index(role) + 2].removesuffix(" (95 %)").removesuffix(" %")
        yield from _of_ranks(rows, outcome, role)


def _of_ranks(rows: Sequence[Mapping[str, str]], outcome: str, role: str) -> Iterator[Claim]:
    """That the best one is among those that may be it."""
    excluded = tuple(row[role] for row in rows if row["may be the best"] == "no")
    if excluded:
        yield Claim("may be the best", outcome, role=role, excluded=excluded)


def _of_effect(row: Mapping[str, str], study: StudyRecord) -> Iterator[Claim]:
    mean = next(column for column in row if column.endswith("(95 %)"))
    difference = next((column for column in row if column.startswith(("difference", "ratio"))), "")
    outcome, factor = mean.removesuffix(" (95 %)").removesuffix(" %"), row["factor"].partition(",")[0]
    level = level_of(study, factor, row["level"])
    if found := re.fullmatch(INTERVAL, row[mean]):
        low, high = number_of(found["low"]), number_of(found["high"])
        yield Claim("interval of a mean", outcome, factor, level, low=low, high=high)
    if found := re.fullmatch(INTERVAL, row[difference]):
        low, high, verdict = number_of(found["low"]), number_of(found["high"]), row["verdict"]
        yield Claim("interval of a difference", outcome, factor, level, low=low, high=high)
        is_consistent = not low < 0 < high if verdict in SIGNS else low <= 0 <= high  # a bound may be rounded to 0
        yield Claim("verdict beside its interval", outcome, factor, level, is_consistent=is_consistent)
    if row["verdict"] in ("higher", "lower"):
        sign = 1 if row["verdict"] == "higher" else -1
        yield Claim("verdict of the table", outcome, factor, level, sign=sign)


def _of_variance(row: Mapping[str, str], outcome: str) -> Iterator[Claim]:
    if row["term"].startswith(("residual", "three or more")):
        return
    aliases = row.get("aliases", "–")
    terms = tuple(tuple(term.split(" × ")) for term in (row["term"], *(aliases.split(", ") if aliases != "–" else ())))
    if row["verdict"] == "there is an effect":
        yield Claim("effect in the analysis of variance", outcome, term=terms)
    share = _matched(INTERVAL, row["partial ω² (95 %)"])
    low, high = number_of(share["low"]), number_of(share["high"])
    yield Claim("interval of partial ω²", outcome, term=terms, low=low, high=high)
