"""Reads a study: file, overrides, named space; its shape first, then its meaning; all that is wrong is told at once."""

from collections.abc import Sequence

from studies.engine.checking import Checker
from studies.engine.lookup import read_study_file
from studies.engine.problems import StudyError
from studies.engine.shapes import shape_of
from studies.engine.stores import locate_study
from studies.engine.study import Study
from studies.engine.study_file import StudyFile


def load_study(study: str, overrides: Sequence[str] = ()) -> Study:
    """Read and check a study. Its data are prepared; nothing else is written.

    Raises:
        StudyError: With everything that is wrong.
    """
    file = locate_study(study)
    document = read_study_file(file, overrides)
    shaped = shape_of(document, StudyFile)
    checker = Checker(document, shaped.content, shaped.gone)
    checked = checker.study(file)
    problems = [*document.problems, *shaped.problems, *checker.findings.problems]
    if problems or checked is None:
        raise StudyError(list(dict.fromkeys(problems)))
    return checked
