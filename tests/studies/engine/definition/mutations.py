"""Study files with mistakes made at random: a seeded generator for tests that nothing but a clear message comes of them."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from studies.engine.binding.trainable_modules import field_names, load_trainable, trainable_names
from studies.engine.definition.file_model import DESIGN_NAMES, StudyFile
from studies.engine.definition.locations import shipped_studies

RICH = """\
question: Which of everything?
name: rich
baseline: {trainable: bitnet, time_steps: 4, layout: 64 M 64 F32, rate_target: null, percentile: 99.9, dropout: 0.0}
config: {data: digits, validation_fraction: 0.25, feature_scale: 0.0625, epochs: 2, balance: percentile}
factors:
  trainable: [bitnet, converted_snn, ann]
  time_steps: {low: 2, high: 8, step: 2}
  layout: {layouts: {convolutions: 64 64 F32, pools: [1, 2], kinds: [M, A, S], mixed: true, smallest_map: 2}}
  rate_target: {levels: [null, 0.05, "0.1"], when: {trainable: bitnet}}
  percentile: {levels: [99, 99.9], when: {trainable: converted_snn, time_steps: [2, 4]}}
  dropout: [0.0, 0.1]
constraints:
  - trainable != 'bitnet' or time_steps * feature_scale <= 1
  - layout != '64' and log2(time_steps) < 5
design: one_factor_at_a_time
tuning:
  parameters: {lr: {low: 1e-3, high: 1e-1, log: true}, batch_size: [16, 32]}
  num_trials: 3
  sampler: {name: tpe, n_startup_trials: 2}
  seed: 77
seeds: [0, 1, 5]
seed_sd: 0.01
resources: {cpus: 1, gpus: 0}
"""
SEARCH = """\
question: Which of everything?
trainable: response_surface
config: {noise: 0.01}
factors:
  a: {low: -1, high: 1, when: {variant: [plain, steep]}}
  b: {low: 0.1, high: 1, log: true}
  c: {low: -1, high: 1, step: 0.25}
  variant: [plain, peaked, steep]
  peak_width: {low: 0.1, high: 2, log: true, when: {variant: peaked}}
constraints: [b + c < 1.5, "variant in ['plain', 'peaked', 'steep']"]
design:
  name: adaptive_search
  num_trials: 20
  sampler: {name: nsga2, population_size: 10, crossover: SBX}
  objectives: {val/accuracy: maximize, ops/effective_acs: minimize}
  limits: {sparsity/overall: {at_least: 0.2}}
  pruner: {name: percentile, percentile: 25.0}
  seeds_per_trial: 2
  finalists: 2
  warm_start: [quickstart]
seeds: 4
"""
RANDOM = """\
question: Which of everything?
trainable: response_surface
factors: {a: {low: -1, high: 1}, b: [0, 1], variant: {levels: [plain, peaked]}}
design: {name: random, num_cells: 12, seed: 3}
seeds: 4
"""
FRACTION = """\
question: Which of everything?
trainable: response_surface
baseline: {a: 0, b: 0, c: 0, d: 0, e: 0, f: 0, g: 0}
factors: {a: [0, 1], b: [0, 1], c: [0, 1], d: [0, 1], e: [0, 1], f: [0, 1], g: [0, 1]}
design: {name: fractional_factorial, resolution: 3}
seeds: 4
"""

EXTREMES: list[Any] = [
    *(
        0,
        -1,
        1,
        2,
        1e308,
        -1e308,
        5e-324,
        float("nan"),
        float("inf"),
        10**30,
        -(10**30),
        10**400,
        2**53,
        2**53 + 1,
        10**9,
        10**12,
    ),
    *(
        0.1,
        0.5,
        0.9999999,
        1e-9,
        True,
        False,
        None,
        "",
        " ",
        "true",
        "null",
        "1e-3",
        "0x10",
        "1:30",
        "~",
        "a" * 5000,
        "64 " * 3000,
    ),
    *(
        "Ω≈ç√∫",
        "\U0001f9e0",
        "a\x00b",
        "a\nb",
        "\u2028",
        "%s{}",
        "../../x",
        "~nobody/x.npz",
        "no.npz",
        "/",
        "none",
        "digits",
        "vgg19",
    ),
    *(
        "64 M M M M M M",
        "64 S S",
        "M 64",
        "F99999",
        "99999 99999 99999",
        "resnet20",
        "cuda:99",
        "cuda:" + "9" * 30,
        "a: b",
        "[1, 2",
    ),
    *(
        "()" * 200,
        "(" * 300,
        "-" * 400 + "1 < 2",
        "a" + "+a" * 200 + "<1",
        "9**9**9**9 > 1",
        "1/0 > 1",
        "num_parameters < 0",
        "None < 1",
    ),
    *(
        [],
        {},
        [[]],
        [1, 2],
        [None],
        {"a": 1},
        {"name": "x"},
        {"levels": [1, 2]},
        {"low": 0, "high": 1},
        [0] * 3000,
        list(range(3000)),
    ),
    *("2024-01-01", {"": ""}, {"a.b": 1}, {"x": {"y": {"z": [{}]}}}),
]
LINES = [
    *("\t", "\t- x", "? [a]", "&a [*a]", "!!python/object:os.system x", "!!binary aGk=", "x: &x [1]\ny: *x"),
    *("---", "...", "<<: {a: 1}", "%YAML 9.9", "\ufeff"),
]


def studies() -> list[str]:
    """What mistakes are made in: the shipped studies that need no download, and files that use every key."""
    shipped = [file.read_text() for file in shipped_studies().values()]
    shipped = [text.replace("operations_per_image < 5e6", "time_steps < 15") for text in shipped if "cifar10" not in text]
    return [RICH, SEARCH, RANDOM, FRACTION, *shipped]  # without what takes a second to work out


def mutated(generator: random.Random, texts: list[str]) -> str | bytes:
    """One of the texts with one to four mistakes."""
    text = generator.choice(texts)
    if generator.random() < 0.75:
        data = yaml.safe_load(text)
        for _ in range(generator.choice([1, 1, 1, 2, 3, 4])):
            generator.choice(TREE_MISTAKES)(generator, data)
        text = yaml.safe_dump(data, allow_unicode=generator.random() < 0.5, sort_keys=False)
    for _ in range(generator.choice([0, 0, 0, 1, 2]) if "\n" in text else 1):
        text = generator.choice(TEXT_MISTAKES)(generator, text)
    if generator.random() < 0.03:
        content = bytearray(text.encode("utf-8", "surrogatepass"))
        content[generator.randrange(len(content) or 1) : 0] = generator.randbytes(generator.randrange(1, 9))
        return bytes(content)
    return text


Place = tuple[Any, Any]
"""A mapping or list, and a key or position of it."""


def _places(data: Any) -> Iterator[Place]:
    keys = data.keys() if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in list(keys):
        yield data, key
        yield from _places(data[key])


def _any_place(generator: random.Random, data: Any) -> Place:
    return generator.choice(list(_places(data)) or [({0: 0}, 0)])


def _delete(generator: random.Random, data: Any) -> None:
    part, key = _any_place(generator, data)
    del part[key]


def _replace(generator: random.Random, data: Any) -> None:
    part, key = _any_place(generator, data)
    part[key] = copy.deepcopy(generator.choice(EXTREMES))


def _rename(generator: random.Random, data: Any) -> None:
    part, key = _any_place(generator, data)
    if isinstance(part, dict):
        part[_word(generator)] = part.pop(key)


def _add(generator: random.Random, data: Any) -> None:
    part, _ = _any_place(generator, data)
    value = copy.deepcopy(generator.choice([*EXTREMES, _any_place(generator, data)[0]]))
    part.insert(0, value) if isinstance(part, list) else part.update({_word(generator): value})


def _nest(generator: random.Random, data: Any) -> None:
    part, key = _any_place(generator, data)
    for _ in range(generator.choice([1, 2, 50])):
        part[key] = [part[key]] if generator.random() < 0.5 else {_word(generator): part[key]}


def _swap(generator: random.Random, data: Any) -> None:
    (one, first), (other, second) = _any_place(generator, data), _any_place(generator, data)
    value, one[first] = copy.deepcopy(one[first]), copy.deepcopy(other[second])
    if isinstance(other, dict) or (isinstance(other, list) and isinstance(second, int) and second < len(other)):
        other[second] = value


def _retype(generator: random.Random, data: Any) -> None:
    part, key = _any_place(generator, data)
    value = part[key]
    part[key] = generator.choice([str(value), [value], {"name": value}, repr(value)[:30], len(str(value)), {"levels": value}])


def _scale(generator: random.Random, data: Any) -> None:
    numbers = [(part, key) for part, key in _places(data) if type(part[key]) in (int, float) and abs(part[key]) < 10**30]
    if numbers:
        part, key = generator.choice(numbers)
        part[key] *= generator.choice([-1, 0, 0.5, 2, 3, 1000, 10**9])


def _word(generator: random.Random) -> str:
    fields = field_names(load_trainable(generator.choice(trainable_names())).Config)
    words = [*StudyFile.model_fields, *DESIGN_NAMES, *fields, "levels", "low", "high", "log", "step", "when", "layouts", "name"]
    word = generator.choice(words)
    return generator.choice([word, word, word[:-1], word + "s", word.upper(), "", "é", "a.b", "[0]", word[::-1]])


TREE_MISTAKES: list[Callable[[random.Random, Any], None]] = [
    _delete,
    _replace,
    _replace,
    _rename,
    _add,
    _nest,
    _swap,
    _retype,
    _scale,
]


def _truncate(generator: random.Random, text: str) -> str:
    return text[: generator.randrange(len(text) + 1)]


def _insert(generator: random.Random, text: str) -> str:
    at = generator.randrange(len(text) + 1)
    garbage = generator.choice(
        ["\t", "\x00", "\r", "{", "[", "}", ":", "#", "&", "*", "!", "'", '"', "\u2028", "é", "- ", "? ", "|"]
    )
    return text[:at] + garbage + text[at:]


def _insert_line(generator: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(generator.randrange(len(lines) + 1), " " * generator.choice([0, 2, 4]) + generator.choice(LINES))
    return "\n".join(lines)


def _repeat_line(generator: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(generator.randrange(len(lines) + 1), generator.choice(lines))
    return "\n".join(lines)


def _deep(generator: random.Random, text: str) -> str:
    depth = generator.choice([30, 100, 3000])
    return text + generator.choice(["x: " + "[" * depth + "]" * depth, "x: " + "{a: " * depth + "1" + "}" * depth, "- " * depth])


def _alias(_: random.Random, text: str) -> str:
    bomb = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1]\n"
    return bomb + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 8)}]\n" for i in range(1, 12)) + text


TEXT_MISTAKES: list[Callable[[random.Random, str], str]] = [
    _truncate,
    _insert,
    _insert,
    _insert_line,
    _repeat_line,
    _deep,
    _alias,
]
