"""Heartbeats of the processes that train, by which the driver finds those that are frozen, on any node.

A process that was stopped (SIGSTOP, a frozen control group), that waits for a disk, or that hangs with Python's lock cannot
watch its own deadline. Each sends a heartbeat to Ray's head every few seconds, from a thread of its own; the driver counts how
often it has looked in vain.
"""

import functools
import math
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

import ray

from studies.engine.execution.ray_patches import read_note, write_note

SECONDS_BETWEEN_HEARTBEATS = 5.0
MOST_PATIENCE_S = 180.0
"""How long a process may send no heartbeat; the compiler of the kernels keeps Python's lock for seconds."""
LEAST_LOOKS = 3


@functools.cache
def start_heartbeats() -> None:
    """Send heartbeats from now on, as long as this process lives; called in a Ray actor, the first call of a process counts."""
    key = _key(ray.get_runtime_context().get_actor_id())
    threading.Thread(target=_beat, args=[key], name="heartbeats", daemon=True).start()


def _beat(key: str) -> None:
    number = 0
    while True:
        number += 1
        with suppress(Exception):  # the head is away: then the driver notices that, and not this
            write_note(key, str(number))
        time.sleep(SECONDS_BETWEEN_HEARTBEATS)


def _key(actor_id: str) -> str:
    return f"spikesweep/beat/{actor_id}"


class Heartbeats:
    """The driver's view of them.

    Args:
        deadline_s: Of the study; a process is given no more time than that, but time for a few heartbeats.
    """

    def __init__(self, deadline_s: float) -> None:
        self.patience_s = max(LEAST_LOOKS * SECONDS_BETWEEN_HEARTBEATS, min(MOST_PATIENCE_S, deadline_s))
        self._most_looks = math.ceil(self.patience_s / SECONDS_BETWEEN_HEARTBEATS)
        self._seen: dict[str, tuple[bytes, int]] = {}
        """By actor: its last heartbeat, and how often it was looked at since."""
        self._looked_at = time.monotonic()

    def silent(self, actor_ids: Iterable[str]) -> set[str]:
        """Those actors that have sent heartbeats and send no more. May be asked at any time; it looks now and then.

        An actor that has sent none yet is still starting. Looks are counted rather than seconds, so that nothing is silent
        because this process was stopped itself.
        """
        now = time.monotonic()
        if now - self._looked_at < SECONDS_BETWEEN_HEARTBEATS:
            return set()
        self._looked_at = now
        before, self._seen = self._seen, {}
        for actor_id in actor_ids:
            if beat := read_note(_key(actor_id)):
                last, num_looks = before.get(actor_id, (b"", 0))
                self._seen[actor_id] = (beat, num_looks + 1 if beat == last else 0)
        return {actor_id for actor_id, (_, num_looks) in self._seen.items() if num_looks >= self._most_looks}
