"""A study that is to be run: read, checked, and its stores looked at."""

from collections.abc import Sequence

from studies.engine.lookup import find_stores
from studies.engine.problems import Problem, StudyError
from studies.engine.reading import load_study
from studies.engine.runner import check_stores
from studies.engine.study import Study


def open_study(study: str, overrides: Sequence[str]) -> Study:
    """The study given by path or name.

    Raises:
        StudyError: It is wrong, or its stores are; all problems of both at once.
    """
    problems: list[Problem] = []
    loaded = None
    try:
        loaded = load_study(study, overrides)
    except StudyError as error:
        problems += error.problems
    try:
        check_stores(loaded.stores if loaded else find_stores(study, overrides))
    except StudyError as error:
        problems += [problem for problem in error.problems if problem not in problems]
    if problems or loaded is None:
        raise StudyError(problems)
    return loaded
