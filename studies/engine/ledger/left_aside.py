"""Which replicates of a ledger the study does not ask for now, and why: its data have changed, or its file."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_SHOWN_DIGITS = 8
"""Of a digest."""


@dataclass(frozen=True)
class LeftAside:
    """A replicate of the ledger that is not among those that the study asks for; what is not known of it is empty.

    Attributes:
        data: The name of its data set in the study file.
        data_digest: The digest of the data that it was trained on.
    """

    data: str
    data_digest: str


def left_aside_in_words(replicates: Iterable[LeftAside], data_digests: Mapping[str, str]) -> list[str]:
    """A sentence for each reason.

    Args:
        replicates: Those that the study does not ask for now.
        data_digests: The digests of the study's data sets as they are now, by their names in the study file.
    """
    counts = Counter(replicates)
    of_data = {each: num for each, num in counts.items() if each.data_digest not in ("", *data_digests.values())}
    said = [_of_data(each, num, data_digests) for each, num in of_data.items()]
    if others := {each: num for each, num in counts.items() if each not in of_data}:
        num = sum(others.values())
        or_data = "" if all(each.data_digest for each in others) else ", or on data that it had then"  # an earlier version's
        said.append(
            f"{num} replicate{' is' if num == 1 else 's are'} of levels, seeds or a config that the study no longer asks "
            f"for{or_data}: kept, and not counted. They count again where the study is as it was."
        )
    return said


def _of_data(each: LeftAside, num: int, data_digests: Mapping[str, str]) -> str:
    now = data_digests.get(each.data)
    if now is None and len(data_digests) == 1:
        (now,) = data_digests.values()
    digests = f"digest {each.data_digest[:_SHOWN_DIGITS]}" + (f", now {now[:_SHOWN_DIGITS]}" if now else "")
    trained = f"{num} replicate{' was' if num == 1 else 's were'} trained on other data"
    return (
        f"The data {each.data} have changed: {trained} ({digests}), and {'is' if num == 1 else 'are'} kept and not counted. Put "
        "the old file back to go on with what was trained, or give the study another name (name: …) to have both."
    )
