"""What Ray is asked to give a replicate: cores, a share of a GPU, memory; as the study file says, else as its training needs.

Needs are rounded up to a few sizes, so that a worker that has finished one replicate fits the next.
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
"""Factor over the prediction, which is right within a factor of about 1.5."""
SHARES = (8, 6, 4, 3, 2, 1)
"""How many replicates may share a GPU."""


@dataclass(frozen=True)
class ResourceRequest:
    """What Ray is asked to give one replicate; ``gpus`` below 1 is a share of a GPU."""

    cpus: float
    gpus: float
    memory_bytes: int

    def as_ray(self) -> dict[str, float]:
        """The amounts by Ray's names; what is not requested is left out."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory_bytes)}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True)
class Node:
    """The most that any node of a cluster has; a request for more would wait for ever.

    ``gpu_bytes`` is the memory of one GPU; 0 if there is none, or if its size is not known.
    """

    memory_bytes: float
    gpu_bytes: int
    has_gpu: bool = False


def request_for(resources: Resources, predicted_bytes: int, node: Node, *, num_out_of_memory: int = 0) -> ResourceRequest:
    """What to request for one replicate.

    Args:
        resources: Of the study file; what is given there is requested as it is.
        predicted_bytes: Peak memory of the training itself (``Footprint.memory_on`` the device it runs on).
        node: The most that can be requested.
        num_out_of_memory: How often the replicate has run out of memory; each time twice as much is requested.
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
    """Whether replicates get a GPU or a share of one; ``has_gpu`` says whether the cluster has any."""
    return has_gpu if resources.gpus is None else resources.gpus > 0


def _share_of_gpu(needed: float, node: Node) -> float:
    """A whole GPU if its size is not known."""
    fits = (node.gpu_bytes / (needed + GPU_CONTEXT_BYTES)) if node.gpu_bytes else 1
    return round(1 / next((share for share in SHARES if share <= fits), 1), 4) if fits >= 1 else 1.0


def _rounded_up(needed: float) -> int:
    size = SMALLEST_BYTES
    while size < needed:
        size *= 2
    return size


Amounts = Mapping[str, float]
"""Amounts by Ray's names of resources: CPU, GPU, memory."""


class NodeCapacity:
    """Counts how many requests fit on the nodes at a time, by placing each on the first node with room (first fit).

    Ray itself decides where a worker starts; the count only keeps it from being asked for more than there is room for.
    """

    def __init__(self) -> None:
        self._free: dict[str, dict[str, float]] = {}
        self._placed: dict[str, tuple[str, Amounts]] = {}
        """Node and request by holder."""

    def update(self, nodes: Mapping[str, Amounts]) -> None:
        """Set the nodes that are alive, by id, with all that each has; what was placed on another node is placed nowhere."""
        self._free = {node: dict(amounts) for node, amounts in nodes.items()}
        for node, request in self._placed.values():
            if node in self._free:
                self._take(node, request, +1)

    def place(self, holder: str, request: Amounts) -> bool:
        """Reserve room for a holder; False if no node has enough."""
        node = next((node for node, free in self._free.items() if _fits(request, free)), None)
        if node is None:
            return False
        self._take(node, request, +1)
        self._placed[holder] = (node, request)
        return True

    def release(self, holder: str) -> None:
        """Free what a holder had; nothing if it had none."""
        node, request = self._placed.pop(holder, ("", {}))
        if node in self._free:
            self._take(node, request, -1)

    def has_any(self, request: Amounts) -> bool:
        """Whether some node has room for a request."""
        return any(_fits(request, free) for free in self._free.values())

    def _take(self, node: str, request: Amounts, sign: int) -> None:
        for name, amount in request.items():
            self._free[node][name] = round(self._free[node].get(name, 0) - sign * amount, 4)


def _fits(request: Amounts, free: Amounts) -> bool:
    return all(free.get(name, 0) >= amount for name, amount in request.items())
