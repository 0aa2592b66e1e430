"""Broken rules are data, not text: they keep their parts, and become problems in one place."""

import pickle

import pytest

from search_spaces.language import rules as of_spaces
from studies.engine.errors import Problem, ProblemCollector, rule_of
from trainables.networks import rules as of_trainables


@pytest.mark.parametrize("kind", [of_spaces.RuleError, of_trainables.RuleError])
def test_rule_errors_keep_their_parts(kind: type[of_spaces.RuleError] | type[of_trainables.RuleError]) -> None:
    """Raised, printed or sent to another process, an error has its rule, value, repair and field."""
    error = kind("low must be less than high", "low=2, high=1", "swap them", "lr")
    assert str(error) == "lr: low must be less than high; got low=2, high=1; swap them"
    again = pickle.loads(pickle.dumps(error))
    assert (again.rule, again.value, again.repair, again.field) == (error.rule, error.value, error.repair, error.field)
    assert str(kind("there must be a level")) == "there must be a level"


def test_problems_of_dropped_parts_are_not_told_again() -> None:
    """Of what is known, wrong or dropped, the collector tells the checks, and each problem is there once."""
    known = Problem("s.yaml:3 factors.a", "must be a list", "3", "change it", "factors.a")
    collector = ProblemCollector("s.yaml {}".format, [known])
    collector.drop("factors.a")
    collector.add("factors.a", "must be known", 3, "change it")
    collector.add("factors.a.low", "must be known", 3, "change it")
    assert collector.problems == [known]
    collector.add_broken("factors.b", of_spaces.RuleError("low must be less than high", "low=2"), value=7, repair="swap them")
    collector.add_broken("seeds", of_trainables.RuleError("must be known", repair="write it"), value=7)
    collector.add("seeds", "must be known", 7, "write it")
    assert collector.problems[1:] == [
        Problem("s.yaml factors.b", "low must be less than high", "low=2", "swap them"),
        Problem("s.yaml seeds", "must be known", "7", "write it"),
    ]
    assert collector.is_dropped("factors")
    assert not collector.is_dropped("factors.b")
    assert collector.is_wrong("factors.b.low")
    assert collector.is_wrong("seeds", "design")
    assert not collector.is_wrong("design", "factors.c")
    assert collector.names_dropped_in("factors") == ["a"]


@pytest.mark.parametrize(
    ("kind", "context", "rule"),
    [
        ("greater_than_equal", {"ge": 1.0}, "must be at least 1"),
        ("less_than", {"lt": 0.5}, "must be less than 0.5"),
        ("literal_error", {"expected": "'M', 'A' or 'S'"}, "must be 'M', 'A' or 'S'"),
        ("dict_type", {}, "must be a mapping"),
        ("some_later_type", {}, "must be valid (said so)"),
    ],
)
def test_rules_of_pydantic(kind: str, context: dict[str, object], rule: str) -> None:
    """What pydantic finds wrong is told in the words of study files; of a kind that is not known, as pydantic says it."""
    assert rule_of({"type": kind, "ctx": context, "msg": "said so"}) == rule
