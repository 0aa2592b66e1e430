"""What is wrong with a study: each problem with its place, the rule, the value and a repair, told before anything runs."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from studies.credentials import mask_credentials
from studies.plain_text import visible

LONGEST_SHOWN = 200
"""Characters of a value that a message shows."""
MOST_TOLD = 50
FEW_MORE = 10
"""Problems that are told at once; of more, the others are counted. A few more are told too, as an error may join another."""

_RULES = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "none_required": "must be null",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have {min_length} or more entries",
    "string_too_short": "must have {min_length} or more characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
}
"""Pydantic's types of errors in the words of study files, with what pydantic tells of the bound."""


@dataclass(frozen=True)
class Problem:
    """One thing in a study or a command that its user has to mend.

    Attributes:
        where: ``file:line path.in.file``, or the option or place that it is about.
        rule: The rule that is broken, in words.
        value: What breaks it.
        repair: What the user can do about it.
    """

    where: str
    rule: str
    value: str
    repair: str
    path: str = field(default="", compare=False)
    """The path in the file, where there is one."""

    def __post_init__(self) -> None:
        """Whatever a problem is made of, it shows no password."""
        for name in ("where", "rule", "value", "repair"):
            object.__setattr__(self, name, mask_credentials(getattr(self, name)))

    def __str__(self) -> str:
        where, rule, value, repair = map(visible, (self.where, self.rule, self.value, self.repair))
        return f"{where}\n    rule:   {rule}\n    value:  {value}\n    repair: {repair}"


class StudyError(Exception):
    """Everything that keeps a study from being run, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        told = list(problems)
        if len(told) > MOST_TOLD + FEW_MORE:
            told, more = told[:MOST_TOLD], len(told) - MOST_TOLD
            rule = f"no more than {MOST_TOLD} problems are told at once"
            told.append(Problem(told[0].where, rule, f"{more:,} more", "correct these first"))
        super().__init__("\n".join(map(str, told)))
        self.problems = tuple(told)


def not_recorded(command: str, study: str) -> StudyError:
    """The error of a command that reads MLflow: its STUDY is not there; ``study`` is which one, in which store, and why not."""
    rule, repair = f"{command} needs a study that MLflow has", "run it first, or name its store with --storage or --tracking-uri"
    return StudyError([Problem("STUDY", rule, study, repair)])


class BrokenRule(Protocol):
    """The ``RuleError`` of ``search_spaces`` or that of ``trainables``, which may not know each other."""

    rule: str
    value: str
    repair: str


class ProblemCollector:
    """All that is known of what is wrong with one file: the problems, and the parts that were dropped because of them.

    A part that is wrong in its form is dropped: it is taken out of the content, so that the rest of the file can be checked
    too. Every check asks here before it says that something is missing or that something else follows from it.

    Args:
        where: Makes ``file:line path`` of a path.
        problems: What is known already.
    """

    def __init__(self, where: Callable[[str], str], problems: Iterable[Problem] = ()) -> None:
        self._where = where
        self._problems = dict.fromkeys(problems)
        self._wrong, self._dropped = _Parts(problem.path for problem in self._problems), _Parts()

    @property
    def problems(self) -> Sequence[Problem]:
        """All of them, in the order in which they were found."""
        return list(self._problems)

    @property
    def num_problems(self) -> int:
        """How many there are."""
        return len(self._problems)

    @property
    def dropped_paths(self) -> Collection[str]:
        """The paths of the parts that were taken out of the content."""
        return self._dropped.paths

    def add(self, path: str, rule: str, value: Any, repair: str) -> None:
        """Add a problem, unless it is known or about a part that was dropped."""
        if not self.is_dropped(path):
            text = value if isinstance(value, str) else shown(value)
            self._problems.setdefault(Problem(self._where(path), cut(rule), cut(text), repair, path))
            self._wrong.add(path)

    def add_broken(self, path: str, broken: BrokenRule, *, value: Any = "", repair: str = "") -> None:
        """Add a rule that the search space or the trainable found broken, with what it does not say itself."""
        self.add(path, broken.rule, broken.value or value, broken.repair or repair)

    def drop(self, path: str) -> None:
        """Note that a part was taken out of the content."""
        self._dropped.add(path)

    def is_dropped(self, path: str) -> bool:
        """Whether a part, or what it is in, or something in it, was dropped."""
        return self._dropped.has_any_about(path)

    def is_wrong(self, *paths: str) -> bool:
        """Whether one of these parts was dropped or has a problem."""
        return any(self._dropped.has_any_about(path) or self._wrong.has_any_about(path) for path in paths)

    def names_dropped_in(self, part: str) -> list[str]:
        """The names of the entries of a part that were dropped, the others being there: ``factors``."""
        return [path.removeprefix(f"{part}.") for path in self.dropped_paths if path.startswith(f"{part}.")]


class _Parts:
    """Parts of a file by their paths, in the order in which they were added."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.paths: dict[str, None] = {}
        self._around: set[str] = set()
        """What one of them is in."""
        for path in paths:
            self.add(path)

    def add(self, path: str) -> None:
        if path not in self.paths:
            self.paths[path] = None
            self._around.update(_around(path))

    def has_any_about(self, path: str) -> bool:
        """Whether this part, or what it is in, or something in it, is among them."""
        return path in self.paths or path in self._around or any(around in self.paths for around in _around(path))


def _around(path: str) -> list[str]:
    """The paths of what a part is in: ``factors`` and ``factors.layout`` of ``factors.layout[1]``."""
    return [path[:end] for end, character in enumerate(path) if character in ".["]


def rule_of(entry: Mapping[str, Any]) -> str:
    """What pydantic says of a value, as a rule without a subject: ``must be at least 1``."""
    if rule := _RULES.get(str(entry["type"])):
        return rule.format(**{name: _as_written(bound) for name, bound in entry.get("ctx", {}).items()})
    return f"must be valid ({entry['msg']})"


def _as_written(bound: Any) -> str:
    """A bound as a person writes it: 0 rather than 0.0."""
    return str(int(bound) if isinstance(bound, float) and bound.is_integer() else bound)


def shown(value: Any) -> str:
    """A value as a message shows it: not too long, whatever it is."""
    try:
        return cut(repr(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def cut(text: str) -> str:
    """A text as a message shows it: without what is beyond a few lines of it."""
    return text if len(text) <= 2 * LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} … {text[-LONGEST_SHOWN:]}"


def closest(word: Any, possibilities: Iterable[str]) -> str:
    """A repair for a wrong word: the nearest of the right ones, and all of them."""
    possibilities = list(possibilities)
    near = nearest(word, possibilities)
    hint = f"did you mean {near}? " if near else ""
    return f"{hint}possible: {', '.join(possibilities) or 'none'}"


def nearest(word: Any, possibilities: Iterable[str]) -> str | None:
    """The one of these words that a wrong one is most like; None if it is like none of them."""
    near = difflib.get_close_matches(shown(word)[:LONGEST_SHOWN].strip("'\""), list(possibilities), n=1)
    return near[0] if near else None
