"""Constraints between parameters as text: ``time_steps * feature_scale <= 4``, ``not flip or crop_padding > 0``.

The language is a small part of Python's expressions, with Python's meaning: numbers, text, ``True``, ``False``, ``None``,
parameters by name, arithmetic, comparisons (also chained, and ``in``), ``and``, ``or``, ``not``, and ``FUNCTIONS``. In one thing
it differs: a number is the decimal that is written, so that 0.1 + 0.2 is 0.3 (``exact_numbers``). Text is parsed by Python's own
parser and walked here node by node; nothing is compiled or executed.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from search_spaces.language.exact_numbers import as_written, log2, power, shortened, sqrt
from search_spaces.language.factors import Level
from search_spaces.language.rules import RuleError

LONGEST_TEXT = 500
DEEPEST_NESTING = 50
LARGEST_NUMBER = 1e300
"""Whole numbers grow without bounds in Python; here arithmetic ends where that of floats does."""

Value = bool | Fraction | str | None
"""A level as constraints compute with it: every number but True and False is a fraction."""

FUNCTIONS: dict[str, tuple[Callable[..., Fraction], int, int]] = {
    "min": (min, 2, LONGEST_TEXT),
    "max": (max, 2, LONGEST_TEXT),
    "abs": (abs, 1, 1),
    "log2": (log2, 1, 1),
    "sqrt": (sqrt, 1, 1),
}
"""The functions that may be called, with the fewest and the most arguments."""

_ARITHMETIC: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: power,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Fraction], Fraction]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Expression:
    """A constraint; ``parse`` makes one."""

    text: str
    names: frozenset[str]
    """The parameters that it names."""
    _tree: ast.expr = field(repr=False, compare=False)

    def holds(self, values: Mapping[str, Level]) -> bool:
        """Whether the constraint holds. What ``and`` and ``or`` need not look at is not looked at, as in Python.

        Raises:
            RuleError: A name has no value, text is ordered against numbers, arithmetic has no finite result, or what
                comes out is neither true nor false.
        """
        return _truth(self._tree, values)


def parse(text: str) -> Expression:
    """A constraint from its text.

    Raises:
        RuleError: The text is too long or too deeply nested, or not of this language, or no comparison or truth value.
    """
    if len(text) > LONGEST_TEXT:
        raise RuleError(f"a constraint must have at most {LONGEST_TEXT} characters", str(len(text)))
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in text
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        rule = "a constraint must be an expression like `a * b <= 4` or `c == 1`"
        raise RuleError(rule, f"{text!r} ({reason})") from None
    _check_depth(tree)
    _check(tree)
    _check_truth(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    return Expression(text, frozenset(names), tree)


def _check_depth(tree: ast.expr) -> None:
    """Everything else here may recurse."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEPEST_NESTING):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise RuleError(f"a constraint must be nested less than {DEEPEST_NESTING} deep", "a deeper one")


def _check(node: ast.expr) -> None:
    """Every node is of the language."""
    for operand in _operands(node):
        _check(operand)
    if isinstance(node, ast.Constant):
        _check_constant(node)
    elif isinstance(node, ast.Call):
        _check_call(node)
    elif isinstance(node, ast.BoolOp):
        for operand in node.values:
            _check_truth(operand)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_truth(node.operand)


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    """The parts of a node that have values.

    Raises:
        RuleError: It is not of the language.
    """
    match node:
        case ast.BoolOp():
            yield from node.values
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            yield from (node.left, node.right)
        case ast.UnaryOp() if isinstance(node.op, ast.Not) or type(node.op) in _SIGNS:
            yield node.operand
        case ast.Compare():
            if any(isinstance(comparison, ast.Is | ast.IsNot) for comparison in node.ops):
                raise RuleError("values are compared with == and !=, not with is", _shown(node))
            yield from (node.left, *node.comparators[:-1])
            last = node.comparators[-1]
            if isinstance(last, ast.List | ast.Tuple) and isinstance(node.ops[-1], ast.In | ast.NotIn):
                yield from last.elts
            else:
                yield last
        case ast.Call():
            yield from node.args
        case ast.Constant() | ast.Name():
            pass
        case _:
            words = "numbers, text, names, arithmetic, comparisons, `in` with a list, and, or, not"
            raise RuleError(f"a constraint is made of {words} and {', '.join(FUNCTIONS)}", _shown(node))


def _check_constant(node: ast.Constant) -> None:
    value = node.value
    if value is not None and not isinstance(value, bool | int | float | str):
        raise RuleError("a constant must be a number, text, True, False or None", _shown(node))
    if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
        raise _too_large(_shown(node))


def _check_call(node: ast.Call) -> None:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        raise RuleError(f"only {', '.join(FUNCTIONS)} may be called", _shown(node))
    _, fewest, most = FUNCTIONS[node.func.id]
    if node.keywords or not fewest <= len(node.args) <= most:
        number = f"{fewest} or more" if most > fewest else str(fewest)
        raise RuleError(f"{node.func.id} takes {number} numbers", _shown(node))


def _check_truth(node: ast.expr) -> None:
    """A node may turn out true or false, as far as can be seen without values."""
    is_number = isinstance(node, ast.BinOp | ast.Call) or (isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not))
    if is_number or (isinstance(node, ast.Constant) and not isinstance(node.value, bool)):
        raise RuleError("a constraint must be true or false, like a comparison", _shown(node))


def _truth(node: ast.expr, values: Mapping[str, Level]) -> bool:
    value = _value(node, values)
    if not isinstance(value, bool):
        raise RuleError("a constraint must be true or false", f"{_shown(node)}, which is {_in_words(value)}")
    return value


def _value(node: ast.expr, values: Mapping[str, Level]) -> Value:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as level):
            return _exactly(level)
        case ast.Name():
            return _parameter(node.id, values)
        case ast.BoolOp():
            results = (_truth(operand, values) for operand in node.values)
            return all(results) if isinstance(node.op, ast.And) else any(results)
        case ast.UnaryOp(op=ast.Not()):
            return not _truth(node.operand, values)
        case ast.Compare():
            return _comparison(node, values)
    return _number(node, values)


def _number(node: ast.expr, values: Mapping[str, Level]) -> Fraction:
    """The value of a node that must be a number."""
    match node:
        case ast.BinOp():
            left, right = _number(node.left, values), _number(node.right, values)
            return _computed(node, _ARITHMETIC[type(node.op)], left, right)
        case ast.UnaryOp() if type(node.op) in _SIGNS:
            return _computed(node, _SIGNS[type(node.op)], _number(node.operand, values))
        case ast.Call(func=ast.Name(id=name)):
            return _computed(node, FUNCTIONS[name][0], *[_number(argument, values) for argument in node.args])
    value = _value(node, values)
    if not isinstance(value, bool | Fraction):
        raise RuleError("arithmetic needs numbers", f"{_shown(node)}, which is {_in_words(value)}")
    return Fraction(value)


def _parameter(name: str, values: Mapping[str, Level]) -> Value:
    if name not in values:
        raise RuleError("every name in a constraint must have a value", f"{name}, which has none")
    level = values[name]
    if isinstance(level, int | float) and not abs(level) <= LARGEST_NUMBER:
        raise _too_large(name)
    return _exactly(level)


def _exactly(level: Level) -> Value:
    return as_written(level) if isinstance(level, int | float) and not isinstance(level, bool) else level


def _comparison(node: ast.Compare, values: Mapping[str, Level]) -> bool:
    left = _value(node.left, values)
    for comparison, operand in zip(node.ops, node.comparators, strict=True):
        if isinstance(operand, ast.List | ast.Tuple):
            among = left in [_value(element, values) for element in operand.elts]
            return among is isinstance(comparison, ast.In)
        right = _value(operand, values)
        if not _compare(node, comparison, left, right):
            return False
        left = right
    return True


def _compare(node: ast.Compare, comparison: ast.cmpop, left: Value, right: Value) -> bool:
    if isinstance(comparison, ast.Eq | ast.NotEq):
        return (left == right) is isinstance(comparison, ast.Eq)
    if isinstance(comparison, ast.In | ast.NotIn):
        if isinstance(left, str) and isinstance(right, str):
            return (left in right) is isinstance(comparison, ast.In)
        rule = "a value can be in a list, and text in text"
    else:
        if any(isinstance(left, kind) and isinstance(right, kind) for kind in (bool | Fraction, str)):
            return _ORDER[type(comparison)](left, right)
        rule = "only two numbers or two texts can be compared with <, <=, > and >="
    raise RuleError(rule, f"{_shown(node)} with {_in_words(left)} and {_in_words(right)}")


def _computed(node: ast.expr, function: Callable[..., Fraction], *numbers: Fraction) -> Fraction:
    try:
        result = Fraction(function(*numbers))
        if abs(result) <= LARGEST_NUMBER:
            return shortened(result)
    except OverflowError:
        pass
    except ZeroDivisionError:
        raise RuleError("arithmetic must have a result", f"{_shown(node)} (division by zero)") from None
    except ValueError as error:
        raise RuleError("arithmetic must have a result", f"{_shown(node)} ({error})") from None
    raise _too_large(_shown(node))


def _too_large(what: str) -> RuleError:
    return RuleError(f"numbers must be at most {LARGEST_NUMBER}", f"{what}, which is not")


def _shown(node: ast.AST) -> str:
    return f"`{ast.unparse(node)}`"


def _in_words(value: Value) -> str:
    """A value as it stands in a study file."""
    if isinstance(value, Fraction):
        return str(value.numerator if value.denominator == 1 else float(value))
    return repr(value)
