"""On which device a replicate is trained: it decides the last digits of results, as sums are rounded in another order."""

from collections.abc import Mapping

import torch

DEVICE, NUM_THREADS = "device", "num_threads"
"""Names of a report's facts."""
THEN = " then "


def machine_facts(device: torch.device, earlier: Mapping[str, str]) -> dict[str, str]:
    """The device, e.g. ``cpu AVX512`` or ``cuda NVIDIA H200``, and the number of threads that torch uses on the CPU.

    ``earlier`` are the facts of the epoch before: what was resumed elsewhere has ``1 then 2`` threads.
    """
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    facts = {DEVICE: f"{device.type} {name}", NUM_THREADS: str(torch.get_num_threads())}
    return followed(facts, earlier)


def followed(facts: Mapping[str, str], earlier: Mapping[str, str]) -> dict[str, str]:
    """Facts of this epoch behind those of the epochs before: what has changed on the way is said as ``one then another``."""
    return {fact: _followed(earlier.get(fact, ""), now) for fact, now in facts.items()}


def first_of(fact: str) -> str:
    """The value that a fact of ``machine_facts`` had in the first epoch."""
    return fact.partition(THEN)[0]


def _followed(earlier: str, now: str) -> str:
    return f"{earlier}{THEN}{now}" if earlier and earlier.rpartition(THEN)[2] != now else earlier or now
