"""An item in training: how often it has been tried, and with how much memory it is tried next."""

import time
from dataclasses import dataclass, field

from studies.engine.binding.replicates import Replicate, SourceNetwork
from studies.engine.execution.resource_requests import ResourceRequest

MAX_DEATHS = 3
"""A replicate fails after this number of processes in a row that died before it reached a new epoch."""
_SIGNS_OF_MEMORY = ("OutOfMemory", "out of memory", "memory pressure", "memory on the node")


def names_memory(error: str) -> bool:
    """Whether Ray's error says that the node ran out of memory and killed the process."""
    return any(sign in error for sign in _SIGNS_OF_MEMORY)


@dataclass
class InFlight:
    """A replicate, or the source network of one, from its first attempt in this driver until it is complete, pruned or failed.

    Attributes:
        item: What is trained.
        predicted_bytes: Peak memory that its training is predicted to need.
        num_out_of_memory: How often it has run out of memory in all; the ledger keeps this for the next driver.
        request: What Ray is asked to give it in the present attempt.
        num_deaths: Processes that died since it last reached a new epoch.
        epoch: The last epoch that it reported.
        heard_at: When it started or reported last (monotonic seconds).
    """

    item: Replicate | SourceNetwork
    predicted_bytes: int = 0
    num_out_of_memory: int = 0
    request: ResourceRequest | None = None
    num_deaths: int = 0
    epoch: int = 0
    heard_at: float = field(default_factory=time.monotonic)

    @property
    def identity(self) -> str:
        """The identity of the replicate or source network that is trained."""
        return self.item.identity

    @property
    def replicate(self) -> Replicate | None:
        """The item if it is a replicate; None if it is a source network, of which the study records nothing."""
        return self.item if isinstance(self.item, Replicate) else None

    @property
    def gpus(self) -> float:
        """The GPUs, or the share of one, that it has in the present attempt."""
        return self.request.gpus if self.request else 0.0

    @property
    def num_micro_batches(self) -> int:
        """In how many parts a batch is processed: twice as many each time that memory ran out."""
        return int(2**self.num_out_of_memory)

    def start(self) -> None:
        """Note that a process has started with it."""
        self.heard_at = time.monotonic()

    def reported(self, epoch: int) -> None:
        """Note that an epoch is done; one that was reported before, by an earlier process, is no progress."""
        self.heard_at = time.monotonic()
        if epoch > self.epoch:
            self.epoch, self.num_deaths = epoch, 0

    def is_late(self, deadline_s: float) -> bool:
        """Whether it has reported nothing for so long that its process will have ended itself (``deadline_s`` of the study)."""
        return time.monotonic() - self.heard_at >= deadline_s

    def can_be_smaller(self) -> bool:
        """Whether a batch has enough images for more micro-batches."""
        return self.num_micro_batches < int(self.item.config["batch_size"])
