"""What a value without quotes means: YAML 1.2's reading, value by value, and none where YAML 1.1 has another one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.language.plain_values import is_text, read_plain
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Level

READ: list[tuple[str, Level]] = [
    *((text, None) for text in ("", "~", "null", "Null", "NULL")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    ("0", 0),
    ("-0", 0),
    ("100", 100),
    ("+7", 7),
    ("-19", -19),
    ("0o10", 8),
    ("0o777", 511),
    ("0x1F", 31),
    ("0xff", 255),
    ("1e3", 1000.0),
    ("1E3", 1000.0),
    ("1e-3", 0.001),
    ("1.5e3", 1500.0),
    ("1.5e+3", 1500.0),
    ("-2.5E-2", -0.025),
    (".5", 0.5),
    ("-.5", -0.5),
    ("+.5e1", 5.0),
    ("5.", 5.0),
    ("007.5", 7.5),
    ("0.1", 0.1),
    ("0.0", 0.0),
    ("0e5", 0.0),
    ("0.30000000000000004", 0.1 + 0.2),
    ("1.7976931348623157e308", 1.7976931348623157e308),
    ("5e-324", 5e-324),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("+.Inf", math.inf),
]
AS_TEXT = [
    *("1:30", "1:30:15", "1:30.5", "2024-01-01", "2024-13-45", "2001-12-14t21:59:43.10-05:00", "=", "<<", "y", "n", "Y", "N"),
    *(
        "nUll",
        "tRue",
        "None",
        "nan",
        "inf",
        "Infinity",
        "-",
        "+",
        ".",
        "-.",
        "e3",
        "1e",
        "1e+",
        "1.5.2",
        "0x",
        "0o8",
        "0o",
        "0xG",
    ),
    *(
        "-0o10",
        "0X1F",
        "0O7",
        "1,000",
        "1 000",
        "12 M 34",
        "resnet_20",
        "64 64 M",
        "_1",
        "v1_0",
        "0b",
        "0b12",
        "\u0663",
        "1\u0663",
    ),
]
DOUBTFUL = [
    *("0100", "010", "-010", "+007", "00", "08", "0899", "1_000", "1_000.5", "0_1", "1_0e+3", "0b101", "-0b1", "0x_1F", "-0x1F"),
    *("yes", "No", "ON", "off", "0b1_0", "+0x1F", ".5_0"),
]
TOO_LARGE = ["1e309", "-1e400", "1e-400", "0.0001e-400", "9" * 401, "0." + "1" * 400, "1" * 150_000, "0x" + "f" * 150_000]


@pytest.mark.parametrize(("text", "value"), READ)
def test_values(text: str, value: Level) -> None:
    """Every form of YAML 1.2's core schema is the number, truth value or null that it is there, type included."""
    read = read_plain(text)
    assert read == value
    assert type(read) is type(value)
    assert not is_text(text)


def test_what_is_no_number() -> None:
    """.nan is none of the numbers, in its three spellings."""
    assert all(math.isnan(float(str(read_plain(text)))) for text in (".nan", ".NaN", ".NAN"))


@pytest.mark.parametrize("text", AS_TEXT)
def test_texts(text: str) -> None:
    """What YAML 1.2 has no other meaning for is a text, also dates and 1:30."""
    assert read_plain(text) == text
    assert is_text(text)


@pytest.mark.parametrize("text", [*DOUBTFUL, *TOO_LARGE], ids=lambda text: text[:20])
def test_what_is_refused(text: str) -> None:
    """What YAML 1.1 reads as another number or truth value is refused with a rule, the value and a repair, and so is a number
    that no float holds.
    """
    with pytest.raises(RuleError) as caught:
        read_plain(text)
    assert caught.value.rule
    assert caught.value.repair
    assert text in caught.value.value or len(text) > 400
    assert not is_text(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1_000", "1000"),
        ("0100", "100"),
        ("0_100", "100"),
        ("0b101", "5"),
        ("-0b1_0", "-2"),
        ("0x_1F", "31"),
        ("0x_", "it in decimal"),
    ],
)
def test_the_repair_can_be_typed(text: str, number: str) -> None:
    """It names the number, which all versions of YAML read alike."""
    with pytest.raises(RuleError) as caught:
        read_plain(text)
    assert caught.value.repair.startswith(f"write {number}")
    with pytest.raises(RuleError) as caught:
        read_plain(f"0x_{'f' * 10_000}")
    assert "decimal digits" in caught.value.repair


@given(st.text(max_size=12) | st.text("0123456789_+-.:eExXob", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text is, it has a value or a reason."""
    try:
        value = read_plain(text)
    except RuleError:
        return
    assert is_text(text) == isinstance(value, str)
    assert value == text or not isinstance(value, str)


@given(st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_as_python_writes_them(number: float) -> None:
    """A number that a program writes is read as the same number."""
    assert read_plain(repr(number)) == number
