"""What a value means that is written in YAML without quotes: what YAML 1.2 says (its core schema), as editors read it.

Many programs still read YAML 1.1, where some of these values are others: 0100 is 64, 1_000 is 1000, yes is true. What is a number
or a truth value in one version and another one in the next, or a text, is refused. Dates and 1:30 are text, as in YAML 1.2.
"""

import math
import re
from collections.abc import Mapping

from search_spaces.language.factors import Level
from search_spaces.language.rules import RuleError

LONGEST_NUMBER = 400
"""Characters of a number; no finite one needs more."""

_WORDS: Mapping[str, Level] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DOUBTFUL_WORDS = {"yes", "no", "on", "off"}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEXADECIMAL = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NUMBER_OF_YAML_1_1 = re.compile(
    r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?)"
)


def read_plain(text: str) -> Level:
    """The value of a text without quotes.

    Raises:
        RuleError: It means something else in YAML 1.1 than in YAML 1.2, or is a number that no float holds.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _REAL.fullmatch(text) or _OCTAL_OR_HEXADECIMAL.fullmatch(text):
        return _number(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if text.lower() in _DOUBTFUL_WORDS:
        rule = "yes, no, on and off mean true or false in some YAML versions only"
        raise RuleError(rule, text, f'write true or false, or quote it: "{text}"')
    if _NUMBER_OF_YAML_1_1.fullmatch(text):
        rule = "a number must be written so that all YAML versions read the same"
        raise RuleError(rule, text, f"write {_in_decimal_digits(text)}; or quote it if it is a text")
    return text


def _in_decimal_digits(text: str) -> str:
    """The number as all versions of YAML read it: ``1000`` for ``1_000``, ``5`` for ``0b101``."""
    digits = text.replace("_", "")
    if not re.search("[xb]", digits):
        return re.sub("^([-+]?)0+(?=[0-9])", r"\1", digits)
    is_number = len("0b") < len(digits.lstrip("+-")) <= LONGEST_NUMBER  # no more digits than Python writes
    return str(int(digits, 0)) if is_number else "it in decimal digits alone"


def is_text(text: str) -> bool:
    """Whether a text means itself where it is written without quotes."""
    try:
        return isinstance(read_plain(text), str)
    except RuleError:
        return False


def _number(text: str) -> float:
    if len(text) > LONGEST_NUMBER:
        rule = f"a number must have at most {LONGEST_NUMBER} characters"
        raise RuleError(rule, f"one with {len(text):,}", "shorten it, or quote it if it is a text")
    if _OCTAL_OR_HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    digits = text.lstrip("+-")
    if _WHOLE.fullmatch(text):
        if digits[0] == "0" and len(digits) > 1:
            rule = "a whole number must not begin with 0, as some YAML versions then read it as octal"
            repair = f"write {digits.lstrip('0') or 0}; or quote it if it is a text"
            raise RuleError(rule, text, repair)
        return int(text)
    number = float(text)
    if math.isinf(number) or (number == 0 and digits.lower().partition("e")[0].strip("0.")):
        rule, repair = "a number must be 0 or between 5e-324 and 1.7e308 in size", "write 0, or a larger or smaller number"
        raise RuleError(rule, text, repair)
    return number
