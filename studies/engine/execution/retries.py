"""How often a replicate has been tried, and with how much memory it is tried next."""

import time
from dataclasses import dataclass, field
from typing import Any

MAX_DEATHS = 3
"""How many processes in a row may break without one epoch's progress before the replicate has FAILED."""
_SIGNS_OF_MEMORY = ("OutOfMemory", "out of memory", "memory pressure", "memory on the node")


def names_memory(error: str) -> bool:
    """Whether Ray's error says that the node ran out of memory and killed the process."""
    return any(sign in error for sign in _SIGNS_OF_MEMORY)


@dataclass
class Attempts:
    """Of one replicate, or of one parent, by this driver.

    Attributes:
        num_deaths: Processes that broke since it last made progress.
        num_out_of_memory: How often it ran out of memory, in all; the ledger remembers it for the next driver.
        epoch: The last that was heard of.
        heard_at: When (monotonic seconds).
    """

    num_deaths: int = 0
    num_out_of_memory: int = 0
    epoch: int = 0
    heard_at: float = field(default_factory=time.monotonic)

    @property
    def num_micro_batches(self) -> int:
        """In how many parts a batch is run."""
        return int(2**self.num_out_of_memory)

    def start(self) -> None:
        """A process begins."""
        self.heard_at = time.monotonic()

    def hear(self, epoch: int) -> None:
        """An epoch is done; one that was done before is no progress."""
        self.heard_at = time.monotonic()
        if epoch > self.epoch:
            self.epoch, self.num_deaths = epoch, 0

    def is_late(self, deadline_s: float) -> bool:
        """Whether nothing has been heard for as long as its process would be allowed to live."""
        return time.monotonic() - self.heard_at >= deadline_s

    def can_be_smaller(self, config: dict[str, Any]) -> bool:
        """Whether a batch has images left to be parted into more micro-batches."""
        return self.num_micro_batches < int(config["batch_size"])
