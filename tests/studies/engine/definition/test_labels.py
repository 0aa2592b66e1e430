"""``labels`` of a study file: what is taken, and what is said of every mistake."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.records.loading import RecordedStudy
from studies.cli import app
from studies.engine.definition.loading import load_study
from studies.engine.definition.lookup import read_study_file
from studies.engine.errors import StudyError
from studies.engine.recording.study_record import study_record
from studies.run_record import StudyRecord
from tests.studies.engine.definition.test_mistakes import SEARCH, SURFACE

LABELS = r"""
labels:
  a: $\theta_0$
  variant: {name: shape, levels: {plain: flat}}
  peak_width: {levels: {5e-1: half}}
  val/accuracy: accuracy
"""
KEPT = {"a": r"$\theta_0$", "variant": "shape", "variant=plain": "flat", "peak_width=0.5": "half", "val/accuracy": "accuracy"}


def written(folder: Path, text: str) -> Path:
    file = folder / "labelled.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_labels_are_recorded(tmp_path: Path) -> None:
    """Under the names of factors and metrics, and levels as they are in words; the recorded file loads as the same study."""
    study = load_study(str(written(tmp_path, SURFACE + LABELS)))
    assert study.labels == study.content.labels_by_key == KEPT
    record = study_record(study, [], [])
    assert record.labels == KEPT
    again = load_study(str(written(tmp_path, study.text)))
    assert again.labels == KEPT
    assert again.content.labels == study.content.labels


def test_labels_change_no_identity(tmp_path: Path) -> None:
    """What a factor is called does not change what is trained."""
    plain, labelled = (load_study(str(written(tmp_path, text))) for text in (SURFACE, SURFACE + LABELS))
    assert [one.identity for one in plain.replicates] == [one.identity for one in labelled.replicates]


def test_earlier_records_have_none() -> None:
    """A record of an earlier version is read as one without labels."""
    content = '{"name": "x", "question": "?", "trainable": "bitnet", "design": "random", "baseline": {}, "factors": {}, '
    assert StudyRecord.from_json(content + '"seeds": [0], "replicates": []}').labels == {}


@pytest.mark.parametrize(
    ("base", "labels", "where", "rule", "repair"),
    [
        (SURFACE, "{varant: shape}", "labels.varant", "must be of a factor or a metric", "did you mean variant?"),
        (SURFACE, "{val/acuracy: x}", "labels.val/acuracy", "must be of a factor or a metric", "did you mean val/accuracy?"),
        (SURFACE, "{variant: {levels: {plan: x}}}", "labels.variant.levels.plan", "of a level of variant", "did you mean plain?"),
        (SURFACE, "{a: {levels: {2: x}}}", "labels.a.levels.2", "of a level of a", "possible: -1, 0, 1"),
        (
            SURFACE,
            "{val/accuracy: {levels: {2: x}}}",
            "labels.val/accuracy.levels.2",
            "with a list of levels",
            "leave out levels",
        ),
        (SEARCH, "{a: {levels: {0: x}}}", "labels.a.levels.0", "with a list of levels", "leave out levels"),
        (SURFACE, "{a: 3}", "labels.a", "must be a text, or a mapping", "change it"),
        (SURFACE, "{a: {nme: x}}", "labels.a.nme", "a key must be one that labels.a has", "did you mean name?"),
        (SURFACE, "{a: ''}", "labels.a", "must have 1 or more characters", "change it"),
        (SURFACE, r"{a: '$\frac12$'}", "labels.a", "between dollars", "without dollars"),
        (SURFACE, "{a: price in $}", "labels.a", "between dollars", "without dollars"),
        (SURFACE, "{a: b}", "labels.b", "must differ from that of a", "another text"),
        (SURFACE, "{variant: {levels: {plain: peaked}}}", "labels.variant.levels.peaked", "must differ", "another text"),
        (SURFACE, "{a: $T$, b: 𝑇}", "labels.b", "must differ from that of a", "another text"),
        (SURFACE, "{a: T, b: 'T '}", "labels.b", "must differ from that of a", "another text"),
        (SURFACE, "{a: '  '}", "labels.a", "that can be seen", "leave it out"),
        (SURFACE, "[a, b]", "labels", "must be a mapping", "change it"),
    ],
)
def test_mistakes(tmp_path: Path, base: str, labels: str, where: str, rule: str, repair: str) -> None:
    """One problem for each, with its place, rule and a repair that can be typed."""
    with pytest.raises(StudyError) as caught:
        load_study(str(written(tmp_path, f"{base}labels: {labels}\n")))
    (problem,) = caught.value.problems
    assert where in problem.where
    assert rule in problem.rule
    assert repair in problem.repair


def test_a_wrong_factor_makes_no_wrong_label(tmp_path: Path) -> None:
    """What is said of a factor is not said again of its label."""
    text = SURFACE.replace("a: [-1, 0, 1]", "a: nonsense") + "labels: {a: {name: x, levels: {5: y}}}\n"
    with pytest.raises(StudyError) as caught:
        load_study(str(written(tmp_path, text)))
    assert all("labels" not in problem.where for problem in caught.value.problems)


def test_an_override_labels(tmp_path: Path) -> None:
    """``--set labels.a=…`` is as in the file."""
    file = written(tmp_path, SURFACE)
    assert read_study_file(file, ["labels.a=$a$"]).data["labels"] == {"a": "$a$"}
    assert load_study(str(file), ["labels.a=$a$"]).labels == {"a": "$a$"}


def test_a_report_takes_the_labels_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are now; what the file does not name is called as it is recorded."""
    file = written(tmp_path, SURFACE + LABELS)
    record = replace(study_record(load_study(str(file)), [], []), labels={"a": "old", "b": "kept"})
    monkeypatch.setattr("analysis.records.loading.load_recorded_study", lambda *_: RecordedStudy(record, []))
    shown = []

    def write_summary(recorded: RecordedStudy, _: Path) -> None:
        shown.append(recorded.study.labels)
        raise StudyError([])

    monkeypatch.setattr("analysis.ablation_summary.write_summary", write_summary)
    CliRunner().invoke(app, ["report", str(file), "--set", f"storage={tmp_path}"])
    assert shown == [{"b": "kept", **KEPT}]
