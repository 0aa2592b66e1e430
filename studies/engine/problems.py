"""What is wrong with a study, said before anything runs: where, the rule, the value, the repair."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing to mend. ``where`` is ``file:line path.in.file``, or what else a person can find."""

    where: str
    rule: str
    value: str
    repair: str

    def __str__(self) -> str:
        return f"{self.where}\n    rule:   {self.rule}\n    value:  {self.value}\n    repair: {self.repair}"


class StudyError(Exception):
    """Everything that keeps a study from being run, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def closest(word: Any, possibilities: Iterable[str]) -> str:
    """A repair for a wrong word: the nearest of the right ones, and all of them."""
    possibilities = list(possibilities)
    near = difflib.get_close_matches(str(word), possibilities, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}possible: {', '.join(possibilities)}"


def mask_credentials(text: str) -> str:
    """A text in which no URI shows its password, fit for logs, messages and records."""
    return re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text)
