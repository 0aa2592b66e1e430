"""The descriptions in MLflow, which its pages render as Markdown: texts of a study read as they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.recording.replicate_runs import DESCRIPTION, tags_of
from studies.engine.recording.study_record import study_description
from studies.plain_text import visible
from tests.hostile_texts import HOSTILE, acting, kinds, paragraphs

NAME = "we|ird `x` [a](https:b) *c* $d$ \x1b<img src=x>.npz"


@pytest.fixture
def hostile_study(tiny_study: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tiny_study``, one of whose levels is a data file with a name like no other."""
    monkeypatch.chdir(tiny_study.parent)
    with np.load(tiny_npz) as saved, Path(NAME).open("wb") as file:
        np.savez(file, **{**saved, "test_labels": 1 - saved["test_labels"]})
    text = tiny_study.read_text().replace(f"data: {tiny_npz}", "batch_size: 16").replace("  batch_size: 32\n", "")
    tiny_study.write_text(
        text.replace("factors:", f"factors:\n  data: {json.dumps([str(tiny_npz), NAME])}").replace(
            "baseline: {", f"baseline: {{data: {json.dumps(str(tiny_npz))}, "
        )
    )
    return tiny_study


def loaded(file: Path, question: str) -> Study:
    return load_study(str(file), [f"question={json.dumps(question)}"])


@pytest.mark.parametrize("question", HOSTILE)
def test_a_question_is_text(question: str, tiny_study: Path) -> None:
    """In the description of a study and of a replicate: nothing but our own marks, and every character can be read."""
    study, plain = loaded(tiny_study, question), loaded(tiny_study, "plain")
    texts = {}
    for each in (study, plain):
        of_study = study_description(each, "running", {"report": "#/x"}, "found")
        of_replicate = tags_of(each, each.replicates[0], "run", "1")[DESCRIPTION]
        texts[each.question] = (of_study, of_replicate)
    for found, other in zip(texts[study.question], texts[plain.question], strict=True):
        assert acting(found) == []
        assert kinds(found) - {"text_special"} == kinds(other) - {"text_special"}
        assert any(visible(study.question).strip() in paragraph for paragraph in paragraphs(found))


def test_a_level_is_text(hostile_study: Path) -> None:
    """In the table of what was asked, and in the title of a replicate."""
    study = loaded(hostile_study, "What?")
    text = study_description(study, "running", {}, "")
    assert any(visible(NAME) in cell for cell in paragraphs(text))
    assert not {"image", "html_inline"} & kinds(text)
    (replicate,) = [each for each in study.replicates if each.cell["data"] == NAME and each.seed == 0]
    of_replicate = tags_of(study, replicate, "run", "1")[DESCRIPTION]
    assert any(visible(NAME) in paragraph for paragraph in paragraphs(of_replicate))
    assert not {"image", "html_inline"} & kinds(of_replicate)
