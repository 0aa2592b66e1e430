"""Two studies compared: by hand, paired and not, and what is said of what only one of them has."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from analysis.compare_studies import write_comparison
from analysis.records.loading import RecordedStudy
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.terminal import to_terminal
from analysis.reporting.topics.comparison import StudyComparison, compare, comparison_data, comparison_document
from analysis.statistics.comparison import ComparedValue
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from studies.run_record import ACCURACY, Level, RunRecord
from tests.analysis.examples import run_of, study_of
from tests.analysis.mlflow_stores import write
from tests.new_stores import new_client

SEEDS = range(6)


def study_with(
    effect: float,
    *,
    name: str = "demo",
    seeds: range = SEEDS,
    shift: float = 0.0,
    levels: tuple[Level, ...] = (1, 2),
    **config: object,
) -> RecordedStudy:
    """One factor around its first level; a level is worth ``effect`` more than the one before, and seeds differ by a point."""
    runs = [
        replace(
            run_of({"a": level}, seed, 0.5 + shift + effect * i + 0.01 * (seed % 5) + 0.001 * (seed * 7 * (i + 1) % 3)),
            config=config,
        )
        for i, level in enumerate(levels)
        for seed in seeds
    ]
    return RecordedStudy(study_of("one_factor_at_a_time", {"a": levels}, runs, name=name, seeds=list(seeds)), runs)


def of_kind(comparison: StudyComparison, kind: str) -> list[ComparedValue]:
    return [compared for compared in comparison.compared[ACCURACY_OUTCOME] if compared.kind == kind]


def all_texts(comparison: StudyComparison) -> str:
    """The terminal's text, then the Markdown; the page is made too."""
    console = Console(width=80, record=True, file=io.StringIO())
    document = comparison_document(comparison)
    console.print(to_terminal(document))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "<script" not in to_html(document)
    return text + to_markdown(document)


def test_a_shift_is_found_in_every_cell_by_hand() -> None:
    """With the same seeds differences are paired: a shift of 2 points has no doubt, and an exact p of 2/2**6, twice by Holm."""
    cells = of_kind(compare(study_with(0.1), study_with(0.1, name="after", shift=0.02)), "cell")
    assert [dict(compared.levels) for compared in cells] == [{"a": 1}, {"a": 2}]
    for compared in cells:
        assert compared.difference is not None
        assert compared.difference.mean == pytest.approx(0.02)
        assert (compared.is_paired, compared.p, compared.corrected_p) == (True, 2 / 2**6, 4 / 2**6)
        assert compared.verdict == "undecided"


def test_values_of_a_pair_are_over_the_shared_seeds() -> None:
    """Two more seeds in the one study change neither its mean beside a paired difference nor that difference."""
    (compared, _) = of_kind(compare(study_with(0.1), study_with(0.1, name="longer", seeds=range(8))), "cell")
    assert compared.first == compared.second
    assert compared.first is not None
    assert compared.first.num_values == 6


@pytest.mark.parametrize(("num_seeds", "is_warned"), [(6, True), (7, False)])
def test_too_few_pairs_are_told(num_seeds: int, is_warned: bool) -> None:
    """2 comparisons need 7 pairs for a corrected p below 0.05: with fewer nothing can be decided, and it is said."""
    text = all_texts(compare(study_with(0.1, seeds=range(num_seeds)), study_with(0.1, name="other", seeds=range(9))))
    sentence = (
        f"With {num_seeds} pairs and 2 comparisons in a table no corrected p-value can fall below 0.05; that takes 7 pairs."
    )
    assert (sentence in " ".join(text.split())) == is_warned


def test_an_effect_that_differs_is_told_from_a_shift() -> None:
    """The level is worth 10 points in the one and 4 in the other: 6 less, paired over the seeds of both."""
    (effect,) = of_kind(compare(study_with(0.1), study_with(0.04, name="other", shift=0.3)), "effect")
    assert effect.first is not None
    assert effect.second is not None
    assert effect.difference is not None
    assert effect.first.mean == pytest.approx(0.1, abs=0.002)
    assert effect.second.mean == pytest.approx(0.04, abs=0.002)
    assert effect.difference.mean == pytest.approx(-0.06)
    assert (effect.verdict, effect.corrected_p) == ("lower", 2 / 2**6)


def test_without_shared_seeds_the_test_is_welch() -> None:
    """p and interval (of one of two cells) are those of scipy's unequal variances, and it is said that nothing is paired."""
    first, second = study_with(0.1), study_with(0.1, name="other", seeds=range(10, 15), shift=0.02)
    comparison = compare(first, second)
    compared = of_kind(comparison, "cell")[0]
    values = [[run.metrics[ACCURACY] for run in study.runs if run.levels == {"a": 1}] for study in (second, first)]
    expected = stats.ttest_ind(*values, equal_var=False)
    assert compared.difference is not None
    assert not compared.is_paired
    assert compared.p == pytest.approx(expected.pvalue)
    assert (compared.difference.low, compared.difference.high) == pytest.approx(tuple(expected.confidence_interval(0.975)))
    assert "6 of 6 differences are not paired" in " ".join(all_texts(comparison).split())


@given(
    ours=st.dictionaries(st.integers(0, 8), st.floats(0, 1), max_size=8),
    theirs=st.dictionaries(st.integers(0, 8), st.floats(0, 1), max_size=8),
)
def test_comparing_is_antisymmetric(ours: dict[int, float], theirs: dict[int, float]) -> None:
    """The other way round every difference has the other sign and the same p; bounds stand around it or are NaN."""
    studies = [
        RecordedStudy(study_of("random", {"a": [1]}, runs), runs)
        for runs in ([run_of({"a": 1}, *pair) for pair in values.items()] for values in (ours, theirs))
    ]
    forth, back = (of_kind(compare(*pair), "cell") for pair in (studies, studies[::-1]))
    assert len(forth) == len(back) == (1 if ours and theirs else 0)
    for one, other in zip(forth, back, strict=True):
        assert one.difference is not None
        assert other.difference is not None
        assert one.is_paired == other.is_paired
        assert one.difference.mean == pytest.approx(-other.difference.mean, abs=1e-12)
        assert one.p == pytest.approx(other.p, nan_ok=True, rel=1e-6)
        assert math.isnan(one.difference.low) or one.difference.low <= one.difference.mean <= one.difference.high


def test_what_differs_comes_first() -> None:
    """Config, versions, commit, threads and data that are not the same in both are listed before any result; what is is not."""
    first, second = study_with(0.1, epochs=5, lr=0.1), study_with(0.1, name="other", epochs=10, lr=0.1, flip=True)
    ours = [
        replace(run, versions='{"torch": "2.15.0"}', git_commit="abc", data_digest="d", facts={"num_threads": "1"})
        for run in first.runs
    ]
    theirs = [
        replace(run, versions='{"torch": "2.16.0"}', git_commit="abc", data_digest="e", facts={"num_threads": "2"})
        for run in second.runs
    ]
    comparison = compare(replace(first, runs=ours), replace(second, runs=theirs))
    found = {difference.what: (difference.first, difference.second) for difference in comparison.differences}
    assert found.pop("num threads") == ("1", "2")
    assert found == {"data digest": ("d", "e"), "epochs": ("5", "10"), "flip": ("–", "true"), "torch": ("2.15.0", "2.16.0")}
    text = all_texts(comparison)
    assert text.index("What differs") < text.index("Validation accuracy: cells")
    assert "a difference of results may be due to the data" in " ".join(text.split())


def test_cells_of_one_study_alone_are_listed() -> None:
    """What cannot be compared is named, in the files too; 1 and 1.0 are one level, 1 and true are not."""
    comparison = compare(study_with(0.1, levels=(1, 2)), study_with(0.1, name="other", levels=(1.0, 3)))
    assert comparison.only == ([{"a": 2}], [{"a": 3}])
    assert [compared.levels for compared in of_kind(comparison, "cell")] == [{"a": 1}]
    text = all_texts(comparison)
    assert "## Only in demo\n\n- a=2\n" in text
    assert "## Only in other\n\n- a=3\n" in text
    assert compare(study_with(0.1, levels=(1, 2)), study_with(0.1, name="other", levels=(True, 2))).only[1] == [{"a": True}]


def test_different_factors_are_compared_by_level() -> None:
    """A factor that both have is compared level by level, though no cell of the one is one of the other."""
    second = study_with(0.1, name="other")
    runs = [replace(run, levels={**run.levels, "b": 1}) for run in second.runs]
    wider = study_of("one_factor_at_a_time", {"a": [1, 2], "b": [1]}, runs, name="other")
    comparison = compare(study_with(0.1), RecordedStudy(wider, runs))
    assert [dict(compared.levels) for compared in of_kind(comparison, "level")] == [{"a": 1}, {"a": 2}]
    assert all(compared.difference and compared.difference.mean == pytest.approx(0) for compared in of_kind(comparison, "level"))


def test_repeated_replicates_are_counted() -> None:
    """Before and after a change of code: how many replicates of one identity give the same number to the last digit."""
    before, after = study_with(0.1), study_with(0.1)
    after.runs[0] = replace(after.runs[0], metrics={**after.runs[0].metrics, ACCURACY: 0.123})
    comparison = compare(before, after)
    assert comparison.names == ("demo (first)", "demo (second)")
    repeated = comparison.repetitions[ACCURACY_OUTCOME]
    assert (repeated.num_shared, repeated.num_equal) == (12, 11)


@pytest.mark.parametrize("case", ["nothing in common", "all failed", "one seed", "constant", "no runs"])
def test_poor_studies_are_compared(case: str) -> None:
    """Whatever is lacking, every output is made and says so."""
    first, second = study_with(0.1), study_with(0.1, name="other")
    runs: list[RunRecord] = list(second.runs)
    if case == "nothing in common":
        second = study_with(0.1, name="other", levels=(7, 8))
        runs = second.runs
    if case == "all failed":
        runs = [replace(run, status="FAILED", reason="x", metrics={}) for run in runs]
    if case == "one seed":
        runs = [run for run in runs if run.seed == 0]
    if case == "constant":
        runs = [replace(run, metrics={**run.metrics, ACCURACY: 0.5}, seed=run.seed + 50) for run in runs]
        first = replace(first, runs=[replace(run, metrics={**run.metrics, ACCURACY: 0.25}) for run in first.runs])
    if case == "no runs":
        runs = []
    text = " ".join(all_texts(compare(first, replace(second, runs=runs))).split())
    expected = {"all failed": "2 no data", "one seed": "6 and 1, unpaired", "constant": "+25.00"}
    assert expected.get(case, "nothing is compared") in text
    assert "nan" not in text


def test_files_and_json(tmp_path: Path) -> None:
    """The CSV has a line for everything that was compared and for what only one has; JSON has no NaN."""
    comparison = compare(study_with(0.1), study_with(0.1, name="other", levels=(1, 3)))
    write_comparison(comparison, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"comparison.md", "comparison.html", "comparison.csv"}
    lines = list(csv.DictReader((tmp_path / "comparison.csv").open()))
    assert [line["kind"] for line in lines] == ["cell", "cell", "only in first", "only in second"]
    assert [line["a"] for line in lines] == ["1", "1", "2", "3"]
    assert float(lines[0]["difference_mean"]) == pytest.approx(0)
    json.dumps(comparison_data(comparison), allow_nan=False)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two studies of one name in two storages: paired, printed, written; a study with itself is refused with exit code 2."""
    from typer.testing import CliRunner

    from studies.cli import app

    monkeypatch.chdir(tmp_path)
    for folder, shift in (("before", 0.0), ("after", 0.02)):
        study = study_with(0.1, shift=shift)
        client = new_client(tmp_path / folder)
        write(client, study.study, study.runs, tmp_path / folder / "artifacts")
    arguments = ["compare", "demo", "demo", "--storage", "before"]
    result = CliRunner().invoke(app, [*arguments, "--other-storage", "after", "--json"])
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(result.stdout)["compared"] if (row["kind"], row["outcome"]) == ("cell", ACCURACY)]
    assert [row["difference_mean"] for row in rows] == pytest.approx([0.02, 0.02])
    assert (tmp_path / "before/reports/demo_against_demo/comparison.html").exists()
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "must be two studies" in refused.output
