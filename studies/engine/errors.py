"""What is wrong with a study, said before anything runs: where, the rule, the value, the repair."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studies.credentials import mask_credentials

LONGEST_SHOWN = 200
"""Characters of a value that a message shows."""

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
}
"""Pydantic's types of errors in the words of study files."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend. ``where`` is ``file:line path.in.file``, or what else a person can find."""

    where: str
    rule: str
    value: str
    repair: str
    path: str = field(default="", compare=False)
    """The path in the file, where there is one."""

    def __str__(self) -> str:
        return f"{self.where}\n    rule:   {self.rule}\n    value:  {self.value}\n    repair: {self.repair}"


class StudyError(Exception):
    """Everything that keeps a study from being run, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def not_recorded(command: str, study: str) -> StudyError:
    """The error of a command that reads MLflow: its STUDY is not there; ``study`` is which one, in which store, and why not."""
    rule, repair = f"{command} needs a study that MLflow has", "run it first, or name its store with --storage or --tracking-uri"
    return StudyError([Problem("STUDY", rule, mask_credentials(study), repair)])


class Findings:
    """Gathers problems by their path in a file; what is about a part that was given up already is left out.

    Args:
        where: Makes ``file:line path`` of a path.
        gone: Paths of parts that are known to be wrong, and are no longer looked at.
    """

    def __init__(self, where: Callable[[str], str], gone: Iterable[str]) -> None:
        self._where, self._gone = where, tuple(gone)
        self.problems: list[Problem] = []

    def add(self, path: str, rule: str, value: Any, repair: str) -> None:
        """One thing to mend."""
        problem = Problem(self._where(path), rule, value if isinstance(value, str) else shown(value), repair, path)
        problem = Problem(problem.where, cut(problem.rule), cut(problem.value), problem.repair, path)
        if problem not in self.problems and not self.is_gone(path):
            self.problems.append(problem)

    def is_gone(self, path: str) -> bool:
        """Whether a part, or what it is in, or something in it, is known to be wrong and no longer looked at."""
        return any(is_about(path, gone) for gone in self._gone)

    def are_about(self, *paths: str) -> bool:
        """Whether anything is wrong with one of these parts."""
        wrong = [*self._gone, *(problem.path for problem in self.problems)]
        return any(is_about(path, other) for path in paths for other in wrong)


def is_about(path: str, other: str) -> bool:
    """Whether one path leads to the other or into it."""
    return path == other or path.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{path}.", f"{path}["))


def rule_of(entry: Mapping[str, Any]) -> str:
    """What pydantic says of a value, as a rule without a subject: ``must be at least 1``."""
    said = str(entry["msg"]).removeprefix("Input ").removeprefix("Value error, ")
    return _RULES.get(str(entry["type"]), said.replace("should be", "must be", 1).replace("should ", "must ", 1))


def shown(value: Any) -> str:
    """A value as a message shows it: not too long, whatever it is."""
    try:
        return cut(repr(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"


def cut(text: str) -> str:
    """A text as a message shows it: without what is beyond a few lines of it."""
    return text if len(text) <= 2 * LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} … {text[-LONGEST_SHOWN:]}"


def rule_and_value(message: str, value: str) -> tuple[str, str]:
    """The two halves of an error like ``low must be less than high, but got (low=2, high=1)``; ``value`` if it has one."""
    rule, but, got = message.partition(", but ")
    return rule, got.removeprefix("got ") if but else value


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
