"""A report's folder: what an earlier report has written is replaced, what anybody else has is refused and kept."""

import os
import time
from pathlib import Path

import pytest

from analysis.ablation_summary import write_summary
from analysis.compare_studies import write_comparison
from analysis.records.loading import RecordedStudy
from analysis.reporting.report_files import SUMMARY, SUMMARY_FILES, OtherFileError, Page, check_folder, write_files
from analysis.reporting.topics.comparison import compare
from studies.commands.options import writing_into
from studies.engine.errors import StudyError
from tests.analysis.reporting.topics.test_published import BITNET, summary_of

MINE = "my own words, of years"
PAGE = Page("page.md", "# A page\n")


def write_report(folder: Path) -> None:
    summary = summary_of(BITNET)
    write_summary(RecordedStudy(summary.study, list(summary.runs)), folder)


@pytest.mark.parametrize("name", ["summary.md", "summary.html", "curves.csv", "figures/effects.svg"])
def test_a_file_of_the_user_is_kept(name: str, tmp_path: Path) -> None:
    """A summary that would replace or remove it is not written at all; a driver hears of those on top before it begins."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(MINE)
    if "/" not in name:
        with pytest.raises(StudyError, match=f"{name} is there, and is not of a report"), writing_into(tmp_path):
            check_folder(tmp_path, SUMMARY, SUMMARY_FILES)
    files = {"summary.html": SUMMARY.mark, "summary.md": "# What?", "figures/effects.svg": "<svg>"}
    with pytest.raises(OtherFileError):
        write_files(tmp_path, SUMMARY, files, without=["curves.csv"])
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == MINE


def test_a_report_is_written_again(tmp_path: Path) -> None:
    """Over one of this or of an earlier version, beside what else lies there; a link is replaced, not followed."""
    (tmp_path / "notes.md").write_text(MINE)
    write_report(tmp_path)
    files = {file.name for file in tmp_path.iterdir() if file.is_file()}
    assert files <= {*SUMMARY_FILES, "notes.md"}
    check_folder(tmp_path, SUMMARY, SUMMARY_FILES)
    whole = (tmp_path / "summary.md").read_text()
    (tmp_path / "summary.md").unlink()
    (tmp_path / "summary.md").symlink_to(tmp_path / "notes.md")
    write_report(tmp_path)
    assert (tmp_path / "summary.md").read_text() == whole
    assert (tmp_path / "notes.md").read_text() == MINE
    (tmp_path / "comparison.csv").write_text(MINE)
    study = RecordedStudy(summary_of(BITNET).study, list(summary_of(BITNET).runs))
    with pytest.raises(OtherFileError, match=r"comparison\.csv"):
        write_comparison(compare(study, study), tmp_path)


def test_a_writer_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file it was at, the page comes first and each is whole; what it left half written goes later, nothing else."""
    files = {"a.csv": "1\n", PAGE.name: "# A page\nof two lines\n", "b/c.csv": "2\n"}
    replace = Path.replace
    for survived in range(3):
        folder = tmp_path / str(survived)
        moves = iter(range(3))

        def killed(self: Path, target: Path, moves: "object" = moves, survived: int = survived) -> Path:
            if next(moves) == survived:  # type: ignore[call-overload]
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_files(folder, PAGE, files)
        monkeypatch.setattr(Path, "replace", replace)
        write_files(folder, PAGE, files)
        assert (folder / "a.csv").read_text() == "1\n"
    left, theirs = folder / f".a.csv.{'0' * 32}.spikesweep-tmp", folder / ".a.csv.tmp"
    for file in (left, theirs):
        file.touch()
        os.utime(file, (0, time.time() - 7200))
    write_files(folder, PAGE, files)
    assert (left.exists(), theirs.exists()) == (False, True)
