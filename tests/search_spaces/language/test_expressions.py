"""Constraints mean what they mean in Python, but for numbers being decimal, and nothing that is written can do harm."""

import ast
import math
import time
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.language.expressions import LONGEST_TEXT, parse
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Level

VALUES: dict[str, Level] = {
    "time_steps": 8,
    "feature_scale": 0.25,
    "flip": False,
    "crop_padding": 2,
    "layout": "64 M",
    "surrogate": None,
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("time_steps * feature_scale <= 4", True),
        ("time_steps * feature_scale < 2", False),
        ("crop_padding < 1e6 and time_steps in [5, 8]", True),
        ("time_steps not in (5, 8)", False),
        ("not flip or crop_padding > 2", True),
        ("1 < crop_padding < time_steps < 8", False),
        ("1 < crop_padding < time_steps in [8]", True),
        ("min(time_steps, 4, 9) == max(4, crop_padding)", True),
        ("abs(crop_padding - time_steps) == 6", True),
        ("log2(time_steps) == 3 and sqrt(feature_scale) == 0.5", True),
        ("2 ** -crop_padding == feature_scale", True),
        ("+time_steps // 3 % 2 != 0", False),
        ('layout == "64 M"', True),
        ("'A' in layout", False),
        ("'A' not in layout", True),
        ("'64' < layout", True),
        ("surrogate == None", True),
        ("surrogate in ['atan', None]", True),
        ("flip", False),
        ("True", True),
        ("flip + (crop_padding > 1) == 1", True),
        ("crop_padding == 0 or time_steps / crop_padding > 3", True),
        ("crop_padding == 2 or unknown > 3", True),
        ("  time_steps > 1  # enough", True),
    ],
)
def test_answers(text: str, answer: bool) -> None:
    """A constraint has Python's answer."""
    assert parse(text).holds(VALUES) is answer


def test_names() -> None:
    """A constraint says which parameters it speaks of: all names that are not called."""
    assert parse("min(a, b) < c and (a in [d, 2] or not e)").names == {"a", "b", "c", "d", "e"}
    assert parse("min < 3").names == {"min"}
    assert parse(" a < b ").text == " a < b "
    assert parse("a < b") == parse("a < b") != parse("a <  b")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be an expression like"),
        ("a <", "must be an expression like"),
        ("a = 1", "must be an expression like .* or `c == 1`; got 'a = 1'"),
        ("a < 1; b", "must be an expression like"),
        ("a < \0", "must be an expression like"),
        ("a < '\ud800'", "must be an expression like"),
        ("a + b", "must be true or false, like a comparison; got `a \\+ b`"),
        ("1", "must be true or false"),
        ("'yes'", "must be true or false"),
        ("None", "must be true or false"),
        ("-a", "must be true or false"),
        ("min(a, b)", "must be true or false"),
        ("a and b + 1", "must be true or false, like a comparison; got `b \\+ 1`"),
        ("(not 1) == b", "must be true or false"),
        ("[a < 1]", "a constraint is made of"),
        ("a in {1, 2}", "a constraint is made of"),
        ("a.real < 1", "a constraint is made of .*; got `a.real`"),
        ("a[0] < 1", "a constraint is made of"),
        ("(lambda: 1) == 1", "a constraint is made of"),
        ("[x for x in a] == 1", "a constraint is made of"),
        ("f'{a}' == 'x'", "a constraint is made of"),
        ("(a := 1) == 1", "a constraint is made of"),
        ("a if b else c", "a constraint is made of"),
        ("~a == 1", "a constraint is made of"),
        ("a | b", "a constraint is made of"),
        ("[1] == a", "a constraint is made of"),
        ("a in [1] == b", "a constraint is made of"),
        ("a in [[1]]", "a constraint is made of"),
        ("min(*a, b) < 1", "a constraint is made of"),
        ("a is None", "compared with == and !="),
        ("__import__('os') == 1", "only min, max, abs, log2, sqrt may be called"),
        ("a.b(1) == 1", "only min, max"),
        ("min(a) == 1", "min takes 2 or more numbers"),
        ("abs(a, b) == 1", "abs takes 1 numbers"),
        ("max(a, b, key=abs) == 1", "max takes 2 or more numbers"),
        ("a == b'x'", "a constant must be a number"),
        ("a == 1j", "a constant must be a number"),
        ("a == ...", "a constant must be a number"),
        ("a < 1e999", "numbers must be at most 1e"),
        ("a < 1" + "0" * 400, "numbers must be at most 1e"),
        ("a < 1" + " " * LONGEST_TEXT, "at most 500 characters; got 505"),
        ("-" * 490 + "a < 1", "nested less than 50 deep"),
        ("(" * 150 + "a" + ",)" * 150 + " < 1", "nested less than 50 deep"),
        ("(" * 240 + "a" + ")" * 240 + " < 1", "must be an expression like"),
    ],
    ids=lambda text: text[:30].encode("unicode_escape").decode(),
)
def test_what_is_no_constraint(text: str, rule: str) -> None:
    """What is not of the language is refused when it is read, with the rule."""
    with pytest.raises(RuleError, match=rule):
        parse(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("layout < 3", "only two numbers or two texts can be compared .*; got `layout < 3` with '64 M' and 3"),
        ("surrogate < 3", "only two numbers or two texts can be compared"),
        ("surrogate + 1 < 3", "arithmetic needs numbers; got `surrogate`, which is None"),
        ("layout * 1000000000 == 'x'", "arithmetic needs numbers"),
        ("layout % 3 == 'x'", "arithmetic needs numbers"),
        ("min(layout, 'x') == 'x'", "arithmetic needs numbers"),
        ("1 in layout", "a value can be in a list, and text in text"),
        ("1 in time_steps", "a value can be in a list, and text in text"),
        ("1 / (time_steps - 8) < 3", "must have a result; got .* \\(division by zero\\)"),
        ("0 ** -crop_padding < 3", "must have a result"),
        ("log2(flip) < 3", "must have a result"),
        ("sqrt(-time_steps) < 3", "must have a result"),
        ("(-time_steps) ** 0.5 == 1", "must have a result; got .* \\(a root of a negative number\\)"),
        ("time_steps ** 1e9 < 3", "numbers must be at most"),
        ("1.0000001 ** 1e12 < 3", "numbers must be at most"),
        ("time_steps // (flip * 1) < 3", "must have a result; got .* \\(division by zero\\)"),
        ("time_steps % 0.0 < 3", "must have a result; got .* \\(division by zero\\)"),
        ("1e200 * 1e200 > time_steps", "numbers must be at most"),
        ("10 ** 200 * 10 ** 200 > time_steps", "numbers must be at most"),
        ("9 ** 9 ** 9 ** 9 > time_steps", "numbers must be at most"),
        ("unknown < 3", "every name in a constraint must have a value; got unknown, which has none"),
        ("huge < 3", "numbers must be at most 1e\\+300; got huge, which is not"),
        ("nan < 3", "numbers must be at most 1e\\+300; got nan, which is not"),
        ("not inf > 3", "numbers must be at most 1e\\+300; got inf, which is not"),
        ("time_steps", "must be true or false; got `time_steps`, which is 8"),
        ("flip or time_steps", "must be true or false; got `time_steps`, which is 8"),
        ("not surrogate", "must be true or false; got `surrogate`, which is None"),
    ],
)
def test_what_has_no_answer(text: str, rule: str) -> None:
    """What has no answer for the values given is refused with the rule, at once."""
    expression = parse(text)
    began = time.perf_counter()
    with pytest.raises(RuleError, match=rule):
        expression.holds({**VALUES, "huge": 10**400, "inf": float("inf"), "nan": float("nan")})
    assert time.perf_counter() - began < 0.1


WORDS = st.sampled_from(
    "a b 1 2.5 True None 'x' + - * / // % ** 9**9**9 < <= == != in not and or ( ) [ ] , min( max( abs( lambda . : if".split()
)
TEXTS = st.text(max_size=60) | st.lists(WORDS, max_size=25).map(" ".join)
LEVELS: st.SearchStrategy[Level] = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(TEXTS, LEVELS, LEVELS)
def test_any_text_is_safe(text: str, a: Level, b: Level) -> None:
    """Any text is a constraint or a RuleError, and any constraint has an answer or a RuleError."""
    try:
        answer = parse(text).holds({"a": a, "b": b})
    except RuleError:
        return
    assert isinstance(answer, bool)


CELLS = [
    ("dropout + weight_decay <= 0.3", [(0.0, 0.0), (0.0, 0.2), (0.1, 0.0), (0.1, 0.2), (0.3, 0.0)]),
    ("dropout + weight_decay == 0.3", [(0.1, 0.2), (0.3, 0.0)]),
    ("dropout + weight_decay < 0.3", [(0.0, 0.0), (0.0, 0.2), (0.1, 0.0)]),
    ("dropout * 3 <= 0.3", [(0.0, 0.0), (0.0, 0.2), (0.0, 0.7), (0.1, 0.0), (0.1, 0.2), (0.1, 0.7)]),
    ("dropout + weight_decay >= 0.8", [(0.1, 0.7), (0.3, 0.7)]),
    ("0.1 < dropout + weight_decay < 0.8", [(0.0, 0.2), (0.0, 0.7), (0.1, 0.2), (0.3, 0.0), (0.3, 0.2)]),
    ("dropout + weight_decay in [0.3, 0.8]", [(0.1, 0.2), (0.1, 0.7), (0.3, 0.0)]),
    ("weight_decay - dropout == 0.1 or dropout + weight_decay == 1.0", [(0.1, 0.2), (0.3, 0.7)]),
    ("max(dropout, weight_decay) - 0.2 == 0.1", [(0.3, 0.0), (0.3, 0.2)]),
]


@pytest.mark.parametrize(("text", "expected"), CELLS, ids=[text for text, _ in CELLS])
def test_numbers_are_the_decimals_that_are_written(text: str, expected: list[tuple[float, float]]) -> None:
    """A sum of levels is the sum that a person would write down: 0.1 + 0.2 is 0.3, and 0.1 + 0.7 is not less than 0.8."""
    cells = product((0.0, 0.1, 0.3), (0.0, 0.2, 0.7))
    assert [cell for cell in cells if parse(text).holds(dict(zip(("dropout", "weight_decay"), cell, strict=True)))] == expected


@pytest.mark.parametrize(
    "text",
    [
        "0.3 // 0.1 == 3 and 0.3 % 0.1 == 0 and -0.3 // 0.1 == -3 and 1 % -0.3 == -0.2",
        "0.1 * 3 == 0.3 and 0.3 / 3 == 0.1 and 1 / 3 * 3 == 1 and 3 * 0.2 <= 0.6",
        "0.1 ** 2 == 0.01 and 0.1 ** -1 == 10 and 1.1 ** 3 == 1.331 and 0 ** 0 == 1",
        "0.09 ** 0.5 == 0.3 and sqrt(0.09) == 0.3 and 0.001 ** (1 / 3) == 0.1 and 64 ** (1 / 3) == 4 and 0.04 ** 1.5 == 0.008",
        "sqrt(2) ** 2 != 2 and 1.41 < sqrt(2) < 1.42 and 2 ** 0.5 == sqrt(2)",
        "log2(0.25) == -2 and log2(1) == 0 and log2(2 ** 200) == 200 and 3.32 < log2(10) < 3.33",
        "1e-300 * 1e-10 > 0 and 1e-300 ** 9 == 0 and abs(-0.1) == 0.1 and min(0.1 + 0.2, 0.3) == 0.3",
        "1.0000001 ** 1e6 < 1.11 and 0.9 ** 1e9 == 0 and (-1) ** 1e18 == 1 and 1 ** -1e300 == 1",
        "(1 / 3) ** 300 > 0 and (1 / 3) ** 0.123456789 < 1",
    ],
)
def test_arithmetic_is_exact(text: str) -> None:
    """Sums, products, quotients, remainders and powers are exact, and so are roots and logarithms that come out even."""
    assert parse(text).holds({})


DECIMALS = st.decimals(-1000, 1000, places=3).map(float) | st.integers(-1000, 1000)


@given(st.lists(DECIMALS, min_size=2, max_size=6), st.lists(st.sampled_from("+-*"), min_size=5, max_size=5), DECIMALS)
def test_answers_are_those_of_decimal_arithmetic(numbers: list[float], signs: list[str], bound: float) -> None:
    """Whatever decimals are added and multiplied, the comparison is that of Python's decimal module at any precision."""
    names = "abcdef"[: len(numbers)]
    text = " ".join(f"{name} {sign}" for name, sign in zip(names, signs, strict=False))[:-1]
    with localcontext(prec=200):
        decimals = {name: Decimal(str(number)) for name, number in zip(names, numbers, strict=True)}
        expected = eval(text, decimals)
        values = dict(zip(names, numbers, strict=True))
        assert parse(f"{text} <= bound").holds({**values, "bound": bound}) is bool(expected <= Decimal(str(bound)))
        assert parse(f"{text} == {expected:f}").holds(values) is (Decimal(str(float(expected))) == expected)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e299, max_value=1e299))
def test_a_number_is_its_shortest_decimal(number: float) -> None:
    """A level equals the text that it was written as, and is larger or smaller than every other float."""
    assert parse(f"a == {number!r}").holds({"a": number})
    assert not parse("a < b").holds({"a": number, "b": number})
    assert parse("a < b").holds({"a": number, "b": math.nextafter(number, math.inf)})


def _combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(parts, st.sampled_from("+ - * / // %".split()), parts).map(lambda words: f"({' '.join(words)})")
    powers = st.tuples(parts, st.sampled_from(["0", "1", "2", "-1"])).map(lambda words: f"({words[0]} ** {words[1]})")
    unary = st.tuples(st.sampled_from(["-", "+", "abs"]), parts).map(lambda words: f"{words[0]}({words[1]})")
    calls = st.tuples(st.sampled_from(["min", "max"]), parts, parts).map(lambda words: f"{words[0]}({words[1]}, {words[2]})")
    return binary | powers | unary | calls


NUMBERS = st.sampled_from(["a", "b", "0", "1", "2", "7", "0.5", "0.1", "1e3"])
ARITHMETIC = st.recursive(NUMBERS, _combined, max_leaves=8)
COMPARISON = st.tuples(ARITHMETIC, st.sampled_from("< <= == != > >=".split()), ARITHMETIC).map(" ".join)
LOGIC = st.recursive(
    COMPARISON,
    lambda parts: st.tuples(parts, st.sampled_from(["and", "or", "and not"]), parts).map(lambda words: f"({' '.join(words)})"),
    max_leaves=4,
)


class _Exact(ast.NodeTransformer):
    """Writes every number of an expression as a fraction."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name("Fraction", ast.Load()), [ast.Constant(str(node.value))], [])


@given(LOGIC, st.integers(-9, 9), st.decimals(-9, 9, places=2).map(float))
def test_answers_are_those_of_pythons_fractions(text: str, a: int, b: float) -> None:
    """Where numbers are not too large, Python's answer to the expression with fractions for its numbers is ours; where Python has
    none, neither have we.
    """
    exact = compile(ast.fix_missing_locations(_Exact().visit(ast.parse(text, mode="eval"))), "", "eval")
    names = {"a": Fraction(a), "b": Fraction(str(b)), "Fraction": Fraction}
    try:
        ours = parse(text).holds({"a": a, "b": b})
    except RuleError as error:
        if "numbers must be" not in str(error):
            with pytest.raises(ArithmeticError):
                eval(exact, names)
        return
    assert ours is eval(exact, names)
