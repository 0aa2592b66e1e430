"""The lines of a journal: one record each, with a check of it and of all that stands before it in the file.

A record is what Optuna writes, a JSON object on a line, with one key more at its end: ``"spikesweep.check":"0123abcd"``. This is
the CRC-32 of every byte of the file up to that key, so that a line that was changed, lost, doubled or moved does not go
unnoticed. Optuna ignores the key. Records of earlier versions of spikesweep, or of other writers of the format, have none: they
are accepted if they have the fields of Optuna's records, and are covered by the check of the next record that has one.
"""

import json
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

BEGINNING = b'{"op_code":0,'
"""How every journal begins: with the record that creates a study."""
_RECORD = b'{"op_code":'
_CHECK_KEY = b',"spikesweep.check":'
_CHECK_LENGTH = len(_CHECK_KEY) + len('"0123abcd"}')


class Place(NamedTuple):
    """A place between two records of a journal.

    Attributes:
        number: How many records, each a line, stand before it.
        offset: How many bytes stand before it.
        crc: Their CRC-32, with the line end that the last record lacks, if it does.
        lacks_line_end: Whether the last record has no line end yet.
        before: The last bytes of the last record, by which another file is told from this one: they have its check.
    """

    number: int = 0
    offset: int = 0
    crc: int = 0
    lacks_line_end: bool = False
    before: bytes = b""


class DamagedLineError(Exception):
    """A line of a journal is not a record as it was written.

    Attributes:
        number: The line's number, from 1.
        reason: What is wrong with it, as the end of a sentence.
        is_empty: Whether nothing is wrong but that the line is there.
    """

    def __init__(self, number: int, reason: str, *, is_empty: bool = False) -> None:
        super().__init__(f"line {number} {reason}")
        self.number, self.reason, self.is_empty = number, reason, is_empty


def encoded(records: list[dict[str, Any]], place: Place) -> bytes:
    """Records as the lines that follow a place."""
    lines, crc = [b"\n"] if place.lacks_line_end else [], place.crc
    for record in records:
        body = json.dumps(record, separators=(",", ":"))[:-1].encode()
        crc = zlib.crc32(body, crc)
        end = _check(crc) + b"\n"
        crc = zlib.crc32(end, crc)
        lines += [body, end]
    return b"".join(lines)


def decoded(content: bytes, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
    """The whole records of the bytes after a place, each with the place behind it.

    A last line that a writer left incomplete is no record; what ``content`` has behind the last place is then this line.

    Raises:
        DamagedLineError: A line is not a record as it was written.
    """
    start, base = 0, place.offset
    if content and place.lacks_line_end:
        if content[:1] != b"\n":
            raise DamagedLineError(place.number, "is followed by something on the same line")
        start, place = 1, Place(place.number, place.offset + 1, place.crc)
    while start < len(content):
        end = content.find(b"\n", start)
        if end < 0:
            yield from _last_line(content[start:], place)
            return
        line = content[start:end]
        record = _record_of(line, place)
        start = end + 1
        crc = zlib.crc32(b"\n", zlib.crc32(line, place.crc))
        place = Place(place.number + 1, base + start, crc, before=line[-_CHECK_LENGTH:] + b"\n")
        yield record, place


def _last_line(line: bytes, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
    """The record of a last line that lacks its line end alone; nothing if its writer did not get so far."""
    try:
        record = _record_of(line, place)
    except DamagedLineError:
        if _is_cut_off(line):
            return
        raise
    crc = zlib.crc32(b"\n", zlib.crc32(line, place.crc))
    offset = place.offset + len(line)
    yield record, Place(place.number + 1, offset, crc, lacks_line_end=True, before=line[-_CHECK_LENGTH:])


def _is_cut_off(line: bytes) -> bool:
    """Whether this is a record without its end, or with zeros in the place of its end, as a power cut may leave it."""
    written = line.rstrip(b"\0")
    if not written.startswith(_RECORD[: len(written)]):
        return False
    try:
        json.JSONDecoder().raw_decode(written.decode("latin-1"))
    except (ValueError, RecursionError):  # there is no whole object
        return not written or _begins_an_object(written)
    return False


def _begins_an_object(text: bytes) -> bool:
    try:
        from_json(text, allow_partial=True)
    except ValueError:
        return False
    return True


def _record_of(line: bytes, place: Place) -> dict[str, Any]:
    """The record of a line, without its line end."""
    length = len(line) - _CHECK_LENGTH
    if length > 0 and line[length:] == _check(zlib.crc32(memoryview(line)[:length], place.crc)):
        record: dict[str, Any] = json.loads(line)
        return record
    if not line.strip():
        raise DamagedLineError(place.number + 1, "is empty", is_empty=True)
    if _CHECK_KEY in line:
        raise DamagedLineError(place.number + 1, "is not as it was written, or lines before it are missing or were changed")
    return _unchecked_record(line, place.number + 1)


def _check(crc: int) -> bytes:
    return b'%s"%08x"}' % (_CHECK_KEY, crc)


def _unchecked_record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
        _schema().validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "op_code"
        raise DamagedLineError(number, f"is no record of a ledger ({field}: {first['msg']})") from None
    except (ValueError, RecursionError):
        raise DamagedLineError(number, "is no record of a ledger") from None
    return record


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    worker_id: str


OneAttribute = Annotated[dict[str, Any], Field(min_length=1, max_length=1)]


class _CreateStudy(_Record):
    op_code: Literal[0]
    study_name: str
    directions: list[int]


class _DeleteStudy(_Record):
    op_code: Literal[1]
    study_id: int


class _SetStudyUserAttribute(_Record):
    op_code: Literal[2]
    study_id: int
    user_attr: OneAttribute


class _SetStudySystemAttribute(_Record):
    op_code: Literal[3]
    study_id: int
    system_attr: OneAttribute


class _CreateTrial(_Record):
    op_code: Literal[4]
    study_id: int
    datetime_start: str | None
    datetime_complete: str | None = None
    state: int = 0
    value: float | None = None
    values: list[float] | None = None
    distributions: dict[str, str] = {}
    params: dict[str, Any] = {}
    user_attrs: dict[str, Any] = {}
    system_attrs: dict[str, Any] = {}
    intermediate_values: dict[str, float] = {}


class _SetTrialParam(_Record):
    op_code: Literal[5]
    trial_id: int
    param_name: str
    param_value_internal: Any
    distribution: str


class _SetTrialState(_Record):
    op_code: Literal[6]
    trial_id: int
    state: int
    values: list[float] | None
    datetime_start: str | None = None
    datetime_complete: str | None = None


class _SetTrialIntermediateValue(_Record):
    op_code: Literal[7]
    trial_id: int
    step: int
    intermediate_value: float


class _SetTrialUserAttribute(_Record):
    op_code: Literal[8]
    trial_id: int
    user_attr: OneAttribute


class _SetTrialSystemAttribute(_Record):
    op_code: Literal[9]
    trial_id: int
    system_attr: OneAttribute


_AnyRecord = Annotated[
    _CreateStudy
    | _DeleteStudy
    | _SetStudyUserAttribute
    | _SetStudySystemAttribute
    | _CreateTrial
    | _SetTrialParam
    | _SetTrialState
    | _SetTrialIntermediateValue
    | _SetTrialUserAttribute
    | _SetTrialSystemAttribute,
    Field(discriminator="op_code"),
]


@cache
def _schema() -> TypeAdapter[Any]:
    """Of the records that Optuna's ``JournalStorage`` writes; made where it is needed, as that takes a moment."""
    return TypeAdapter(_AnyRecord)
