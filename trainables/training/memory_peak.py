"""How much memory a replicate has taken, as measured, and whether it was too much.

What is measured is the growth of the process: its peak since the replicate began, less what it held at that moment.

- On a GPU, of the bytes that torch's tensors take there (``max_memory_allocated``); what torch's allocator keeps beside them, and
  CUDA's own context, are not counted.
- On a CPU, of the resident memory, which Linux knows (VmHWM in ``/proc/self/status``, reset through ``clear_refs``). Pages of the
  data set that are mapped for the first time count too, though all processes of a machine share them.

Processes are used for several replicates, and memory that an earlier one has freed would be taken without any growth. So unused
memory is given back first: Python's cycles are collected, and glibc returns the free pages of its heap (``malloc_trim``). What
libraries keep for themselves from the first replicate on (some 30 MiB) is counted in the first one only.

Where this is not possible (macOS; a Linux that lets no process reset its peak), nothing is measured.
"""

import ctypes
import errno
import gc
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
KIB = 1024
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
"""What torch says in a RuntimeError without a type of its own."""


class MemoryPeak:
    """The most memory that this process takes from now on, beyond what it holds now.

    A process has one peak: beginning another, as for a source network that is trained on the way, resets this one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # without it there is no statistic to reset
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
        else:
            self._before = _begin_resident_peak()

    def metrics(self) -> dict[str, float]:
        """``memory/peak_bytes`` up to now; nothing where it cannot be measured."""
        if self._before is None:
            return {}
        on_gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else _resident_bytes("VmHWM")
        return {"memory/peak_bytes": float(max(0, peak - self._before))}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: Python's, numpy's, the system's, or torch's, on a CPU or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):  # numpy's is a MemoryError
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def _begin_resident_peak() -> int | None:
    """Give unused memory back and reset the peak; the bytes that are left, or None where no peak can be reset."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
        return _resident_bytes("VmRSS")
    except OSError:
        return None


def _resident_bytes(key: str) -> int:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:")]
    return KIB * int(line.split()[1])
