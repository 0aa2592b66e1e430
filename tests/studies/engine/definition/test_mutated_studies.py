"""Hundreds of study files with mistakes of all kinds: each loads, or is told what is wrong with it."""

import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from studies.engine.definition.loading import load_study
from studies.engine.errors import Problem, StudyError
from tests.studies.engine.definition.mutations import mutated, studies

PATIENCE_S = 20


@contextmanager
def bounded() -> Iterator[None]:
    """What takes longer than ``PATIENCE_S`` is interrupted."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path) -> str:
    """How a load ends: ``loaded``, or what the first problem's rule is."""
    try:
        with bounded():
            study = load_study(str(path))
            path.write_text(study.text)
            again = load_study(str(path))
    except StudyError as error:
        return first_rule(error.problems)
    assert again.cells == study.cells
    assert again.text == study.text
    return "loaded"


def first_rule(problems: Sequence[Problem]) -> str:
    """Of problems that are whole, and fit to be printed."""
    for problem in problems:
        assert problem.where
        assert problem.rule
        assert problem.repair
        assert len(str(problem).encode()) < 5000
    return problems[0].rule


@pytest.mark.parametrize(("seed", "num_studies"), [(0, 300), pytest.param(0, 1000, marks=pytest.mark.slow)])
def test_mutated_studies(seed: int, num_studies: int, tmp_path: Path) -> None:
    """Whatever a study file holds, it loads, or every problem has a place, a rule and a repair; and neither takes long."""
    generator = random.Random(seed)
    texts = studies()
    path = tmp_path / "mutated.yaml"
    outcomes = []
    for _ in range(num_studies):
        text = mutated(generator, texts)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        outcomes.append(outcome(path))
    num_loaded = outcomes.count("loaded")
    assert num_loaded > 0.05 * num_studies  # they are not all nonsense
    assert len(set(outcomes)) > 50  # nor all wrong in one way
