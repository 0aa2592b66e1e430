"""The runs of an archive, checked: whoever wrote it, what is read here is a study's runs, whole and of one study."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from studies import run_record
from studies.engine.archives.archived_run import STUDY_KEY, ArchivedRun, key_in
from studies.engine.archives.zip_format import Archive, artifacts_of, damaged, in_words, model_of, open_archive
from studies.engine.errors import Problem, StudyError, cut, shown

NUM_NAMED = 5
"""How many missing artifacts an error names."""


@contextmanager
def open_checked(file: Path) -> Iterator[Archive]:
    """An archive to read; its files and all of its runs are checked first.

    Raises:
        StudyError: The file is no archive, is damaged, or lacks artifacts that its runs name.
    """
    with open_archive(file) as archive:
        lost, keys = list[str](), set[str]()
        for group in archived_runs(archive, file):
            for run in group:
                if run.key in keys or (run.key == STUDY_KEY) != (not keys):
                    raise damaged(file, f"the run {shown(run.key)} is there twice, or the study's own is not the first")
                keys.add(run.key)
                lost += lost_files(run, archive.files(artifacts_of(run.key)))
                lost += [
                    f"{shown(run.name)}: model {number}"
                    for number in range(len(run.models))
                    if not archive.files(model_of(run.key, number))
                ]
        if len(keys) != archive.num_runs:
            raise damaged(file, f"it has {len(keys)} runs, and its manifest says {archive.num_runs}")
        if lost:
            raise lacking(
                "an archive must have all artifacts of its runs", f"{file} lacks", lost, "export it again where they are"
            )
        yield archive


def archived_runs(archive: Archive, file: Path) -> Iterator[list[ArchivedRun]]:
    """The runs of an archive, in groups; to which storage they belong is not taken over.

    Raises:
        StudyError: A line is no run of the archive's study.
    """
    number = 0
    for lines in archive.groups():
        runs = []
        for line in lines:
            number += 1
            try:
                run = ArchivedRun.from_json(line)
            except ValidationError as error:
                raise damaged(file, in_words(f"run {number}", error)) from None
            if key_in(run.tags) != run.key or run.tags.get(run_record.STUDY) != archive.study:
                raise damaged(file, f"run {number}, {shown(run.key)}, is none of the study {archive.study} by its tags")
            runs.append(replace(run, tags={name: text for name, text in run.tags.items() if name != run_record.OWNER}))
        yield runs


def lost_files(run: ArchivedRun, there: Collection[str]) -> list[str]:
    """The artifacts that a run must have and that are not among these, with the run's name."""
    return [f"{run.name or run.key}: {path}" for path in run.own_files() if path not in there]


def lacking(rule: str, who: str, lost: list[str], repair: str) -> StudyError:
    """The error of artifacts that are missing; the first ones are named."""
    more = f" and {len(lost) - NUM_NAMED} more" if len(lost) > NUM_NAMED else ""
    return StudyError([Problem("artifacts", rule, cut(f"{who} {'; '.join(lost[:NUM_NAMED])}{more}"), repair)])
