"""The JSON Schemas that editors use: current, right about every shipped file, and wrong about no study that loads."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from studies.engine.definition.json_schema import space_schema, study_schema
from studies.engine.definition.locations import named_spaces, shipped_studies
from studies.engine.definition.yaml_documents import read_document
from tests.studies.engine.definition.mutations import FRACTION, RANDOM, RICH, SEARCH
from tests.studies.spaces import Question, comparisons, random_designs, searches

STUDIES, SPACES = next(iter(shipped_studies().values())).parent, next(iter(named_spaces().values())).parent
SCHEMA_FILES = {STUDIES / "study.schema.json": study_schema, SPACES / "space.schema.json": space_schema}
OF_STUDIES = Draft202012Validator(study_schema())
OF_SPACES = Draft202012Validator(space_schema())


def underlined(validator: Draft202012Validator, data: Any) -> list[str]:
    return [error.message for error in validator.iter_errors(data)]


@pytest.mark.parametrize("file", SCHEMA_FILES, ids=lambda file: file.name)
def test_schema_files_are_current(file: Path) -> None:
    """What is committed is what ``spikesweep schema`` prints."""
    schema = SCHEMA_FILES[file]()
    Draft202012Validator.check_schema(schema)
    assert json.loads(file.read_text()) == schema, f"write it anew: spikesweep schema > {file.name}"


@pytest.mark.parametrize("file", [*shipped_studies().values(), *named_spaces().values()], ids=lambda file: file.name)
def test_shipped_files_are_valid(file: Path) -> None:
    """Every shipped file names its schema in its first line, and keeps it."""
    is_space = file.parent == SPACES
    first = file.read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={'space' if is_space else 'study'}.schema.json"
    assert underlined(OF_SPACES if is_space else OF_STUDIES, read_document(file).data) == []


@pytest.mark.parametrize("text", [RICH, SEARCH, RANDOM, FRACTION])
def test_studies_that_use_every_key_are_valid(text: str, tmp_path: Path) -> None:
    """Nothing is underlined that may stand in a study file."""
    path = tmp_path / "study.yaml"
    path.write_text(text)
    assert underlined(OF_STUDIES, read_document(path).data) == []


@settings(max_examples=60)
@given(st.one_of(comparisons(), random_designs(), searches()))
def test_what_loads_is_valid(question: Question) -> None:
    """Nothing is underlined in random studies, all of which load."""
    assert underlined(OF_STUDIES, question.data) == []


MISTAKES = [
    (RICH, "seedz: 3"),
    (RICH, "seeds: two"),
    (RICH, "seed_sd: 3"),
    (RICH, "resources: {cpu: 1}"),
    (RICH, "search_space: bitnet_ablatio"),
    (RICH, "trainable: bitnt"),
    (RICH, "config: {epochz: 3}"),
    (RICH, "config: {epochs: 2.5}"),
    (RICH, "config: {epochs: 0}"),
    (RICH, "config: {trainable: ann}"),
    (RICH, "config: {loss: msee}"),
    (RICH, "baseline: {time_stepz: 3}"),
    (RICH, "baseline: {trainable: bitnt}"),
    (RICH, "factors: {time_stepz: [2, 4]}"),
    (RICH, "factors: {trainable: [bitnt, ann]}"),
    (RICH, "factors: {time_steps: [2, four]}"),
    (RICH, "factors: {time_steps: 2}"),
    (RICH, "factors: {time_steps: {low: 2, hihg: 4}}"),
    (RICH, "factors: {layout: {layouts: {convolutions: 64, pools: 1}}}"),
    (RICH, "factors: {layout: {layouts: {convolutions: 64 64, pools: 1, kinds: [Q]}}}"),
    (RICH, "constraints: time_steps < 3"),
    (RICH, "design: latin_square"),
    (RICH, "design: random"),
    (RICH, "design: {name: random, num_cels: 3}"),
    (RICH, "design: {name: fractional_factorial, resolution: 2}"),
    (RICH, "tuning: {parameters: {lrr: [1, 2]}, num_trials: 2}"),
    (RICH, "tuning: {parameters: {lr: [0.1, 0.2]}}"),
    (SEARCH, "trainable: bitnet"),  # whose fields are others
    (SEARCH, "config: {time_steps: 3}"),
    (SEARCH, "config: {variant: plane}"),
    (SEARCH, "factors: {time_steps: [2, 4]}"),
    (SEARCH, "baseline: {time_steps: 2}"),
    (SEARCH, "preset: BITnet6"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, sampler: tpee}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, sampler: {name: tpe, n_startup: 3}}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, sampler: {name: tpe, n_startup_trials: x}}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, pruner: medain}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, objectives: {test/accuracy: maximize}}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, objectives: {val/accuracy: maximise}}"),
    (SEARCH, "design: {name: adaptive_search, num_trials: 3, limits: {sparsity/overall: 3}}"),
]


@pytest.mark.parametrize(("text", "mistake"), MISTAKES, ids=[mistake for _, mistake in MISTAKES])
def test_typical_mistakes_are_underlined(text: str, mistake: str) -> None:
    """An editor underlines misspelt keys, wrong types, fields that the trainable has not, and unknown names."""
    assert underlined(OF_STUDIES, {**yaml.safe_load(text), **yaml.safe_load(mistake)})


@pytest.mark.parametrize("mistake", ["seeds: 3", "factors: {time_stepz: [2, 4]}", "baseline: {time_steps: four}"])
def test_typical_mistakes_in_spaces_are_underlined(mistake: str) -> None:
    """So it does in a named space."""
    assert underlined(OF_SPACES, yaml.safe_load(mistake))
