"""How a study file is read: every value as YAML 1.2 has it, in the file and after --set; and in bounded time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from studies.engine.binding.trainable_modules import field_names
from studies.engine.definition.loading import load_study
from studies.engine.definition.yaml_documents import Document, apply_overrides, as_yaml, read_document
from studies.engine.errors import StudyError
from tests.search_spaces.language.test_plain_values import AS_TEXT, DOUBTFUL, READ
from tests.studies.engine.definition.mutations import FRACTION, RANDOM, RICH
from trainables import bitnet

MOST_SECONDS = 2
"""Of the processor."""


def read(tmp_path: Path, text: str) -> Document:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return read_document(path)


def test_the_file_and_overrides_read_the_same(tmp_path: Path) -> None:
    """Every value of the table means in the file, in a list and after --set what it means by itself, and is refused in all."""
    for text, value in [*READ, *((text, text) for text in AS_TEXT if text != "-")]:
        document = read(tmp_path, f"a: {text}\nb: [{'0' if ',' in text or not text else text}]\n")
        assert document.data == {"a": value, "b": [0 if "," in text or not text else value]}
        assert _overridden(f"a={text}").data == {"a": value}
    for text in DOUBTFUL:
        (of_file,) = read(tmp_path, f"a:\n  b: {text}\n").problems
        (of_set,) = _overridden(f"a={text}").problems
        assert of_file.where.endswith("s.yaml:2 a.b")
        assert (of_file.rule, of_file.value, of_file.repair) == (of_set.rule, of_set.value, of_set.repair)


def _overridden(*overrides: str) -> Document:
    document = Document("")
    apply_overrides(document, overrides)
    return document


def test_quotes_and_tags(tmp_path: Path) -> None:
    """What is quoted, or tagged as text, is text; other tags are refused, and so is a merge key."""
    document = read(tmp_path, "a: '0100'\nb: \"yes\"\nc: !!str 010\nd: |\n  1e3\ne:\nf: ''\n")
    assert document.data == {"a": "0100", "b": "yes", "c": "010", "d": "1e3\n", "e": None, "f": ""}
    assert document.problems == []
    for text, rule in {
        "a: !!int 010": "plain YAML data",
        "a: !!float 1": "plain YAML data",
        "a: !!binary aGk=": "plain YAML data",
        "a: !!timestamp 2024-01-01": "plain YAML data",
        "a: !!python/name:os.system x": "plain YAML data",
        "a: !!set {b: null}": "plain YAML data",
        "x: &x {a: 1}\na: {<<: *x}": "<< is no key in YAML 1.2",
        f"{'k' * 101}: 1": "at most 100 characters",
        "a: 1\na: 2": "must not be repeated",
        "a: yes": "some YAML versions",
    }.items():
        (problem,) = read(tmp_path, text).problems
        assert rule in problem.rule
        assert problem.repair


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:\t1", "write spaces in the place of the tab"),
        ("\ta: 1", "write spaces in the place of the tab"),
        ('a: "\\UFFFFFFFF"', "remove it"),
        ("%YAML 9.9\n---\na: 1", "correct the line"),
        ("a: 1\n---\nb: 2", "correct the line"),
        ("a: *b", "correct the line"),
        ("a: [1", "correct the line"),
    ],
)
def test_what_is_no_yaml(text: str, reason: str, tmp_path: Path) -> None:
    """One problem, with what to do about it."""
    with pytest.raises(StudyError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.rule == "the file must be YAML"
    assert reason in problem.repair


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    assert read(tmp_path, "\ufeffa: 1").data == {"a": 1}


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    """The resolved text of a study quotes whatever would be read as something else."""
    data = {"texts": [text for text, _ in READ] + AS_TEXT + DOUBTFUL, "0100": "a: b", "numbers": [value for _, value in READ]}
    assert read(tmp_path, as_yaml(data)).data == data


def _aliases(text: str) -> str:
    bomb = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1]\n"
    return bomb + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 8)}]\n" for i in range(1, 12)) + text


def _with(text: str, **changes: Any) -> str:
    return yaml.safe_dump({**yaml.safe_load(text), **changes}, sort_keys=False, width=10**6)


BOMBS: dict[str, Callable[[], str]] = {
    "a number of 150,000 digits": lambda: f"{RICH}x: {'1' * 150_000}",
    "a number of 150,000 digits in a level": lambda: RICH.replace("dropout: [0.0, 0.1]", f"dropout: [0.0, 0.{'1' * 150_000}]"),
    "digits and letters": lambda: f"{RICH}x: {'1' * 150_000}e",
    "9,000 unknown keys": lambda: RICH + "".join(f"key{number}: {number}\n" for number in range(9000)),
    "9,000 unknown fields": lambda: _with(RICH, config={f"epochs{number}": 1 for number in range(9000)}),
    "9,000 unknown factors": lambda: _with(RICH, factors={f"time_steps{number}": [1, 2] for number in range(5000)}),
    "190 unknown factors with a baseline": lambda: _with(
        RICH, factors={f"time_steps{n}": [1, 2] for n in range(190)}, baseline={f"time_stepz{n}": 1 for n in range(190)}
    ),
    "190 unknown keys": lambda: RICH + "".join(f"seeds{number}: {number}\n" for number in range(180)),
    "19,000 wrong levels": lambda: _with(RANDOM, factors={"a": ["x"] * 19_000}),
    "10,000 wrong trainables": lambda: _with(RICH, factors={"trainable": [f"bitnet{number}" for number in range(10_000)]}),
    "10,000 wrong levels in a condition": lambda: _with(
        RANDOM, factors={"a": list(range(-1, 2)), "b": {"levels": [0, 1], "when": {"a": [9] * 10_000}}}
    ),
    "10,000 wrong seeds": lambda: _with(RANDOM, seeds=["x"] * 10_000),
    "10,000 constraints": lambda: _with(RANDOM, constraints=["a < 1"] * 10_000),
    "100 long constraints": lambda: _with(RANDOM, constraints=["a" + " + unknown" * 50 + " < 1"] * 100),
    "powers of powers": lambda: _with(RANDOM, constraints=["9 ** 9 ** 9 ** 9 < a", "((0.3 ** 99) ** 99) ** 99 > a"]),
    "10,000 wrong words": lambda: RICH.replace("seeds: [0, 1, 5]", f"seeds: [{', '.join(['yes'] * 10_000)}]"),
    "deep nesting": lambda: f"{RICH}x: {'[' * 5000}{']' * 5000}",
    "deep mappings": lambda: f"{RICH}x: {'{a: ' * 3000}1{'}' * 3000}",
    "deep lists with long keys": lambda: f"{RICH}x: {('{' + 'k.' * 45 + ': ') * 18}[{'yes, ' * 9000}]{'}' * 18}",
    "aliases of aliases": lambda: _aliases(RICH),
    "many anchors": lambda: RICH + "x: [" + ", ".join(f"&a{number} 1, *a{number}" for number in range(9000)) + "]",
    "a long text": lambda: RICH.replace("data: digits", f"data: {'x' * 190_000}"),
    "a long layout": lambda: RICH.replace("time_steps: 4, layout: 64 M 64 F32", f"time_steps: 4, layout: {'64 ' * 60_000}"),
    "a large fraction": lambda: _with(
        RICH, trainable="response_surface", design={"name": "fractional_factorial", "resolution": 10**9}
    ),
    "a fraction of many factors": lambda: _with(
        FRACTION,
        factors={f: [True, False] for f in field_names(bitnet.Config)},
        design={"name": "fractional_factorial", "resolution": 30},
    ),
    "many conditions": lambda: _with(
        RICH, factors={f: {"levels": [1, 2], "when": {"time_steps": 1}} for f in yaml.safe_load(RICH)["factors"]}
    ),
    "brackets": lambda: "[" * 190_000,
    "quotes": lambda: RICH + 'x: "' + "\\u0041" * 30_000 + '"',
    "empty lines": lambda: RICH + "\n" * 190_000 + "x",
    "one long line of commas": lambda: RICH + "x: [" + "1," * 90_000 + "]",
    "colons": lambda: RICH + "? " * 50_000,
    "dashes": lambda: RICH + "x:\n" + "- " * 50_000,
}


IN_THE_DEFAULT_SUITE = {
    "a number of 150,000 digits",
    "9,000 unknown keys",
    "190 unknown factors with a baseline",
    "10,000 constraints",
    "100 long constraints",
    "powers of powers",
    "deep mappings",
    "aliases of aliases",
    "a fraction of many factors",
}


@pytest.fixture(scope="module", autouse=True)
def modules_are_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """So that no test's time is that of imports."""
    path = tmp_path_factory.mktemp("study") / "s.yaml"
    path.write_text(RICH)
    load_study(str(path))


@pytest.mark.parametrize(
    "name", [name if name in IN_THE_DEFAULT_SUITE else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_what_is_large_is_refused_quickly(name: str, tmp_path: Path) -> None:
    """Whatever is repeated in a file, it is told in seconds, in a page at most."""
    path = tmp_path / "s.yaml"
    path.write_text(BOMBS[name]())
    began = time.process_time()
    with pytest.raises(StudyError) as caught:
        load_study(str(path))
    assert time.process_time() - began < MOST_SECONDS
    assert len(str(caught.value)) < 100_000
    assert all(problem.rule and problem.repair for problem in caught.value.problems)


@pytest.mark.parametrize(
    "override",
    [
        "seeds=" + "1" * 100_000,
        "config.lr=0." + "1" * 100_000,
        ".".join("a" * 20_000) + "=1",
        "config." + "k" * 100_000 + "=1",
        "x=" + "[" * 50_000,
        "config={" + ", ".join(f"a{number}: 1" for number in range(9000)) + "}",
        "seeds=[" + "yes, " * 20_000 + "]",
    ],
    ids=lambda override: override[:12],
)
def test_overrides_that_are_large_are_refused_quickly(override: str, tmp_path: Path) -> None:
    """So it is with --set."""
    path = tmp_path / "s.yaml"
    path.write_text(RANDOM)
    began = time.process_time()
    with pytest.raises(StudyError) as caught:
        load_study(str(path), [override])
    assert time.process_time() - began < MOST_SECONDS
    assert len(str(caught.value)) < 100_000


def test_of_many_problems_the_first_are_told() -> None:
    """Fifty problems are a page to read; how many there are beside them is said."""
    document = Document("s.yaml")
    apply_overrides(document, ["x"] * 5000)
    error = StudyError(document.problems)
    assert len(error.problems) == 51
    assert error.problems[-1].value == "4,950 more"
    assert len(StudyError(document.problems[:55]).problems) == 55
