"""What a replicate is given of a node: cores, a share of a GPU, memory; by what the study says, else by what it will need.

Needs are rounded up to few sizes, so that a worker that has ended one replicate fits the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from studies.engine.definition.file_model import Resources

GIB = 2**30
SMALLEST_BYTES = GIB // 2
PROCESS_BYTES = 400 * 2**20
"""What a worker needs before it trains."""
GPU_CONTEXT_BYTES = 600 * 2**20
"""What CUDA takes of a GPU for every process."""
HEADROOM = 1.3
"""Over the prediction, which is right within a factor of about 1.5."""
SHARES = (8, 6, 4, 3, 2, 1)
"""How many replicates may share a GPU."""


@dataclass(frozen=True)
class ResourceRequest:
    """Of one replicate."""

    cpus: float
    gpus: float
    memory_bytes: int

    def as_ray(self) -> dict[str, float]:
        """By Ray's names, without what is not asked for."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory_bytes)}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True)
class Node:
    """The largest that a cluster has; what no node has nobody can be given."""

    memory_bytes: float
    gpu_bytes: int
    """Of one GPU; 0 where there is none, or where its size is not known."""
    has_gpu: bool = False


def request_for(resources: Resources, predicted_bytes: int, node: Node, *, num_out_of_memory: int = 0) -> ResourceRequest:
    """What to ask Ray for.

    Args:
        resources: Of the study file; what is given there is asked for as it is.
        predicted_bytes: The peak of the training itself (``Footprint.memory_on`` what it runs on).
        node: What can be asked for at all.
        num_out_of_memory: How often it has run out of memory already; every time it gets twice as much.
    """
    needed = HEADROOM * predicted_bytes * 2**num_out_of_memory
    on_gpu = runs_on_gpu(resources, has_gpu=node.has_gpu)
    gpus = _share_of_gpu(needed, node) if on_gpu and resources.gpus is None else (resources.gpus or 0.0)
    if resources.gpus and num_out_of_memory:
        gpus = min(gpus * 2**num_out_of_memory, max(1.0, gpus))
    if resources.memory_gib is not None:
        memory = resources.memory_gib * GIB * 2**num_out_of_memory
    else:
        memory = _rounded_up(PROCESS_BYTES + (GPU_CONTEXT_BYTES if on_gpu else needed))
    return ResourceRequest(resources.cpus, gpus, int(min(memory, node.memory_bytes)))


def runs_on_gpu(resources: Resources, *, has_gpu: bool) -> bool:
    """Whether replicates are given a GPU, or a share of one; ``has_gpu``: whether there is any."""
    return has_gpu if resources.gpus is None else resources.gpus > 0


def _share_of_gpu(needed: float, node: Node) -> float:
    """A whole one where its size is not known."""
    fits = (node.gpu_bytes / (needed + GPU_CONTEXT_BYTES)) if node.gpu_bytes else 1
    return round(1 / next((share for share in SHARES if share <= fits), 1), 4) if fits >= 1 else 1.0


def _rounded_up(needed: float) -> int:
    size = SMALLEST_BYTES
    while size < needed:
        size *= 2
    return size


Amounts = Mapping[str, float]


class NodeCapacity:
    """Places demands on nodes, first fit. Ray places for itself; what counts here is how much fits at a time."""

    def __init__(self) -> None:
        self._free: dict[str, dict[str, float]] = {}
        self._placed: dict[str, tuple[str, Amounts]] = {}
        """Node and demand by holder."""

    def update(self, nodes: Mapping[str, Amounts]) -> None:
        """The nodes that are alive, by id, with all that each has; what was placed on one that is gone is placed nowhere."""
        self._free = {node: dict(amounts) for node, amounts in nodes.items()}
        for node, demand in self._placed.values():
            if node in self._free:
                self._take(node, demand, +1)

    def place(self, holder: str, demand: Amounts) -> bool:
        """Take room for a holder; whether there was any."""
        fits = (node for node, free in self._free.items() if all(free.get(name, 0) >= amount for name, amount in demand.items()))
        node = next(fits, None)
        if node is None:
            return False
        self._take(node, demand, +1)
        self._placed[holder] = (node, demand)
        return True

    def release(self, holder: str) -> None:
        """What a holder had is free again."""
        node, demand = self._placed.pop(holder, ("", {}))
        if node in self._free:
            self._take(node, demand, -1)

    def has_any(self, demand: Amounts) -> bool:
        """Whether so much is free somewhere."""
        return any(all(free.get(name, 0) >= amount for name, amount in demand.items()) for free in self._free.values())

    def _take(self, node: str, demand: Amounts, sign: int) -> None:
        for name, amount in demand.items():
            self._free[node][name] = round(self._free[node].get(name, 0) - sign * amount, 4)
