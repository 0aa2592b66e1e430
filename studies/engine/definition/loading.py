"""Loads a study: reads its file, overrides and named space, checks the form, then the meaning, and tells all problems at once."""

from collections.abc import Sequence

from studies.engine.definition.checker import Checker
from studies.engine.definition.file_model import StudyFile
from studies.engine.definition.locations import locate_study
from studies.engine.definition.lookup import read_study_file
from studies.engine.definition.structure import content_of
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError


def load_study(study: str, overrides: Sequence[str] = ()) -> Study:
    """Read and check a study. Its data are prepared; nothing else is written.

    Raises:
        StudyError: With everything that is wrong.
    """
    file = locate_study(study)
    document = read_study_file(file, overrides)
    content, collector = content_of(document, StudyFile)
    study_checked = Checker(content, collector).study(file)
    if collector.problems or study_checked is None:
        raise StudyError(collector.problems)
    return study_checked
