"""Reads a study: file, overrides, named space; its shape first, then its meaning; all that is wrong is told at once."""

from collections.abc import Sequence

from studies.engine.definition.checker import Checker
from studies.engine.definition.file_model import StudyFile
from studies.engine.definition.locations import locate_study
from studies.engine.definition.lookup import read_study_file
from studies.engine.definition.structure import shape_of
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError


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
