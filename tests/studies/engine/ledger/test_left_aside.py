"""A study whose data file is replaced: which replicates count is known by the file's content, and the change is told."""

import os
from pathlib import Path

import numpy as np
import pytest

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution.runner import notes_on_data
from studies.engine.execution.status import study_status
from studies.engine.ledger.ledger import open_ledger, read_ledger
from studies.engine.ledger.left_aside import LeftAside, left_aside_in_words
from studies.run_record import ACCURACY, SPARSITY


@pytest.fixture
def own_data(tiny_study: Path, tiny_npz: Path) -> Path:
    """A copy of the data of ``tiny_study``, which that study uses now."""
    data = tiny_study.with_name("mine.npz")
    data.write_bytes(tiny_npz.read_bytes())
    tiny_study.write_text(tiny_study.read_text().replace(str(tiny_npz), str(data)))
    return data


def replace_data(data: Path) -> None:
    """Other labels, in a file of the same size and time."""
    found = data.stat()
    with np.load(data) as saved:
        arrays = {**saved, "train_labels": 1 - saved["train_labels"]}
    np.savez(data, **arrays)
    assert data.stat().st_size == found.st_size
    os.utime(data, ns=(found.st_atime_ns, found.st_mtime_ns))


def train(study: Study, num: int) -> None:
    """What a driver records of so many replicates."""
    ledger = open_ledger(study.stores.ledger, study.stores.name, study.space)
    files = [dataset.file for dataset in study.binder.datasets.values() if dataset.file]
    ledger.describe(study.content.digest, {each.identity for each in study.replicates}, study.data_digests, files)
    ledger.expect(len(study.replicates))
    for replicate in study.replicates[:num]:
        ledger.begin(replicate)
        ledger.complete(replicate.identity, {ACCURACY: 0.5, SPARSITY: 0.9})


def notes_of(study: Study) -> list[str]:
    return notes_on_data(study, read_ledger(study.stores.ledger, study.stores.name, study.space))


def test_replaced_data_are_told(tiny_study: Path, own_data: Path) -> None:
    """With both digests, how many replicates were trained with which, and what to do; put back, the old ones count again."""
    before = own_data.read_bytes()
    study = load_study(str(tiny_study))
    train(study, 4)
    found = study_status(str(tiny_study))
    assert (found.states, found.notes, notes_of(study)) == ({"COMPLETE": 4, "PLANNED": 2}, [], [])
    replace_data(own_data)
    changed = load_study(str(tiny_study))
    old, new = (next(iter(each.data_digests.values()))[:8] for each in (study, changed))
    found = study_status(str(tiny_study))
    assert found.states == {"PLANNED": 6}
    for (note,) in (found.notes, notes_of(changed)):
        assert f"{own_data} have changed: 4 replicates were trained on other data (digest {old}, now {new})" in note
        assert "Put the old file back" in note
    train(changed, 1)
    found = study_status(str(tiny_study))
    assert found.states == {"COMPLETE": 1, "PLANNED": 5}
    assert "4 replicates were trained on other data" in "".join(found.notes)
    own_data.write_bytes(before)
    found = study_status(str(tiny_study))
    assert found.states == {"COMPLETE": 4, "PLANNED": 2}
    assert "1 replicate was trained on other data" in "".join(found.notes)


def test_data_that_are_not_here(tiny_study: Path, own_data: Path) -> None:
    """The state of a study is known without its data, by what its ledger has."""
    train(load_study(str(tiny_study)), 2)
    own_data.unlink()
    assert study_status(str(tiny_study)).states == {"COMPLETE": 2, "PLANNED": 4}


def test_another_config_is_told(tiny_study: Path) -> None:
    """Replicates of a config that the file no longer has are kept, and do not count."""
    train(load_study(str(tiny_study)), 2)
    found = study_status(str(tiny_study), ["config.epochs=4"])
    assert found.states == {"PLANNED": 6}
    assert "2 replicates are of levels, seeds or a config that the study no longer asks for" in "".join(found.notes)


def test_each_reason_is_a_sentence() -> None:
    """Data by data; of entries that an earlier version wrote, the data are not known."""
    aside = [LeftAside("a.npz", "1" * 64), LeftAside("a.npz", "1" * 64), LeftAside("b.npz", "2" * 64), LeftAside("", "")]
    first, second, third = left_aside_in_words(aside, {"a.npz": "3" * 64, "b.npz": "4" * 64})
    assert "2 replicates were trained on other data (digest 11111111, now 33333333)" in first
    assert "1 replicate was trained on other data (digest 22222222, now 44444444)" in second
    assert third.startswith("1 replicate is of levels, seeds or a config that the study no longer asks for, or on data")
    assert left_aside_in_words([], {}) == []
