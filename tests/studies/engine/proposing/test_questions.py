"""Random study files over the response surface: what they become, what is proposed for them, and that their record is whole."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.language import designs
from search_spaces.language.space import Cell, Level, cell_key
from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import shipped_studies
from studies.engine.definition.study import Study
from studies.engine.proposing.search import Search
from tests.studies.engine.definition.mutations import FRACTION, RANDOM, RICH, SEARCH
from tests.studies.spaces import Question, comparisons, random_designs, searches

NUM_PROPOSALS = 12


def loaded(text: str) -> Study:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "question.yaml"
        path.write_text(text)
        return load_study(str(path))


def keeps(cell: Mapping[str, Level], question: Question) -> bool:
    name, bound = question.constraint or ("", 0.0)
    level = cell.get(name)
    return not isinstance(level, float) or level <= bound


def promised(question: Question) -> list[Cell]:
    """The cells of the design, by the design itself."""
    design = question.data["design"]
    if isinstance(design, dict):
        fraction = designs.fractional_factorial(question.space, question.baseline, resolution=design["resolution"])
        return list(fraction.cells)
    cells: list[Cell] = getattr(designs, design)(question.space, question.baseline)
    return cells


@settings(max_examples=60)
@given(comparisons())
def test_designs_have_the_promised_cells(question: Question) -> None:
    """A study that compares has its design's cells, but for those that break its constraint: the baseline's first."""
    study = loaded(question.text)
    assert study.space == question.space
    assert study.cells == tuple(cell for cell in promised(question) if keeps(cell, question))
    assert study.cells[0] == question.space.active(question.baseline)
    assert all(study.binder.accepts(cell) for cell in study.cells)
    assert len({study.binder.training(cell) for cell in study.cells}) == len(study.cells)
    assert all(study.references[name] in study.cells for name in study.space.names())


@settings(max_examples=60)
@given(random_designs())
def test_random_designs(question: Question) -> None:
    """A random design has as many cells as it asks for, all of them different and in its space."""
    study = loaded(question.text)
    assert study.space == question.space
    assert len({study.binder.training(cell) for cell in study.cells}) == question.data["design"]["num_cells"]
    assert all(study.space.contains(cell) and study.binder.accepts(cell) for cell in study.cells)


@settings(max_examples=60)
@given(searches())
def test_proposals(question: Question) -> None:
    """Whatever a search proposes is new, in its space, within its constraint, and may be trained."""
    study = loaded(question.text)
    assert study.search
    assert study.space == question.space
    directions = list(study.search.objectives.values())
    search = Search(study.space, study.search.sampler, directions, accept=study.binder.accepts)
    proposed = [proposal[0] for _ in range(NUM_PROPOSALS) if (proposal := search.ask())]
    assert len({cell_key(cell) for cell in proposed}) == len(proposed)
    assert all(study.space.contains(cell) and keeps(cell, question) for cell in proposed)
    assert all(study.binder.accepts(cell) for cell in proposed)


def is_same(study: Study, other: Study) -> bool:
    return all(
        getattr(study, part) == getattr(other, part)
        for part in ("space", "baseline", "references", "cells", "seeds", "search", "tuning", "replicates", "notes", "resources")
    )


@settings(max_examples=60)
@given(st.one_of(comparisons(), random_designs(), searches()))
def test_the_record_loads_as_the_same_study(question: Question) -> None:
    """The text that is kept with a study's runs has the same cells, replicates and plans, with every argument of its sampler."""
    study = loaded(question.text)
    again = loaded(study.text)
    assert is_same(study, again)
    assert again.text == study.text
    assert again.stores == study.stores


@pytest.mark.parametrize("name", [name for name, file in shipped_studies().items() if "cifar10" not in file.read_text()])
def test_the_record_of_shipped_studies(name: str) -> None:
    """The text of every shipped study loads as the same study, without its named space."""
    study = load_study(name)
    again = loaded(study.text)
    assert is_same(study, again)
    assert again.text == study.text


@pytest.mark.parametrize("text", [RICH, RICH.replace('"0.1"', '"1e-1"'), SEARCH, RANDOM, FRACTION])
def test_the_record_of_studies_that_use_every_key(text: str) -> None:
    """No level is lost in the text, null and text that looks like a number included."""
    study = loaded(text)
    again = loaded(study.text)
    assert is_same(study, again)
    assert again.text == study.text
