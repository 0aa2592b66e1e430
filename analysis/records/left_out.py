"""Why runs of a study do not count: what was asked for has changed since they were trained, or the data have."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.records.mlflow_store import StoredRun
from analysis.words import counted, first_of
from studies import run_record
from studies.run_record import Level, RunRecord, StudyRecord, level_in_words

NUM_NAMED = 5
SHOWN_DIGITS = 8
"""Of a digest."""
NOWHERE = object()


def is_of_data(study: StudyRecord, run: StoredRun) -> bool:
    """Whether a run was trained on the data that the study has now; also where either does not say."""
    digest = run.tags.get(run_record.DATA_DIGEST)
    return not digest or not study.data or digest in study.data.values()


def left_out_in_words(study: StudyRecord, left: Iterable[StoredRun], shown: Sequence[RunRecord]) -> list[str]:
    """A sentence for each reason for which replicates are left out.

    Args:
        study: What was asked for.
        left: The runs of these replicates.
        shown: The replicates that count. What differs between one of them and a run of the same levels and seed is the reason.
    """
    asked = {_key(record.levels, record.seed): record for record in shown}
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for run in left:
        by_reason[_reason(study, run, asked)].append(run.name)
    return [
        f"{counted(len(names), 'replicate is', 'replicates are')} {reason} ({first_of(names, NUM_NAMED, '; ')}), and left out."
        for reason, names in by_reason.items()
    ]


def _reason(study: StudyRecord, run: StoredRun, asked: Mapping[object, RunRecord]) -> str:
    levels, seed = json.loads(run.tags.get(run_record.LEVELS, "{}")), int(run.tags.get(run_record.SEED, "0"))
    config: dict[str, Any] = json.loads(run.tags.get(run_record.CONFIG, "{}"))
    now = asked.get(_key(levels, seed))
    if not is_of_data(study, run):
        name, digest = config.get("data"), run.tags[run_record.DATA_DIGEST]
        newer = study.data.get(str(name))
        now_is = f", and is {newer[:SHOWN_DIGITS]} now" if newer else ""
        return f"of other data than the study has now: the digest of {name} was {digest[:SHOWN_DIGITS]}{now_is}"
    if now is None:
        return "of levels or seeds that the study no longer asks for"
    if fields := list(_changed(config, now.config)):
        return f"of a config that the study no longer asks for: {', '.join(fields)}"
    return "of a config that the study no longer asks for"


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    """The fields that two configs do not share, with their values: ``epochs (3, now 5)``."""
    if not now:
        return
    for name in dict.fromkeys([*then, *now]):
        before, after = then.get(name, NOWHERE), now.get(name, NOWHERE)
        if before is NOWHERE:
            yield f"{name} (not there, now {level_in_words(after)})"
        elif after is NOWHERE:
            yield f"{name} ({level_in_words(before)}, no longer there)"
        elif before != after and name != "data":
            yield f"{name} ({level_in_words(before)}, now {level_in_words(after)})"


def _key(levels: Mapping[str, Level], seed: int) -> object:
    return frozenset(levels.items()), seed
