"""Measured memory: what a replicate took of its process, and that too much is recognised."""

import ast
import errno
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import prepare
from trainables.training import memory_peak
from trainables.training.memory_peak import MemoryPeak, is_out_of_memory

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CPU = torch.device("cpu")
MIB = 2**20


@linux
def test_the_peak_is_what_was_held_at_most() -> None:
    """What is taken and given back counts, what was there before does not; the next peak begins anew."""
    before = torch.ones(64 * MIB // 4)
    peak = MemoryPeak(CPU)
    assert peak.metrics()["memory/peak_bytes"] < 16 * MIB
    for mib in (40, 80, 20):
        torch.ones(mib * MIB // 4)
    assert 72 * MIB < peak.metrics()["memory/peak_bytes"] < 136 * MIB  # all three are 140
    assert MemoryPeak(CPU).metrics()["memory/peak_bytes"] < 16 * MIB
    del before


@linux
def test_memory_that_was_freed_counts_again() -> None:
    """What an earlier replicate has freed, or left to Python's collector, is growth for the next: small blocks, which the heap
    would hand out again, and cycles, which may go at any time.
    """
    kept_in_the_heap = []
    for _ in range(3):
        peak = MemoryPeak(CPU)
        gc.collect()
        blocks = [bytearray(64 * 1024) for _ in range(1024)]
        kept_in_the_heap.append(bytearray(64 * 1024))
        cycle: list[Any] = [blocks]
        cycle.append(cycle)
        del blocks, cycle
        assert 60 * MIB < peak.metrics()["memory/peak_bytes"] < 90 * MIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_on_a_gpu() -> None:
    """On a GPU the tensors there count, in the same way, and an allocation that is too large is recognised."""
    device = torch.device("cuda:0")
    before = torch.ones(64 * MIB // 4, device=device)
    peak = MemoryPeak(device)
    for mib in (40, 80, 20):
        torch.ones(mib * MIB // 4, device=device)
    assert peak.metrics()["memory/peak_bytes"] == 80 * MIB
    assert MemoryPeak(device).metrics()["memory/peak_bytes"] == 0
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(2**44, device=device)
    assert is_out_of_memory(raised.value)
    del before


def test_without_a_measurement(monkeypatch: pytest.MonkeyPatch, tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Where no peak can be reset a report has no such metric, and all else is there."""
    monkeypatch.setattr(memory_peak, "CLEAR_REFS", tmp_path / "no folder" / "clear_refs")
    config = ann.Config(data=str(tiny_npz), validation_fraction=0.25, layout="4 M 4", epochs=1, device="cpu")
    (report,) = ann.train(config, seed=0, dataset=prepare(config.data, data_folder))
    assert not [name for name in report.metrics if name.startswith("memory/")]
    assert "val/accuracy" in report.metrics


@linux
def test_every_report_has_its_peak(tiny_npz: Path, data_folder: Path) -> None:
    """The peak never falls from epoch to epoch; a conversion's first report has one, too."""
    config = converted_snn.Config(
        data=str(tiny_npz), validation_fraction=0.25, layout="4 M 4", epochs=1, finetune_epochs=2, time_steps=4, device="cpu"
    )
    reports = list(converted_snn.train(config, seed=0, dataset=prepare(config.data, data_folder)))
    measured = [report.metrics["memory/peak_bytes"] for report in reports]
    assert len(measured) == 3
    assert measured == sorted(measured)
    assert measured[-1] > 0


SMALL: dict[str, Any] = {"feature_scale": 0.25, "time_steps": 4, "num_train_images": 64, "backend": "torch"}
LARGE: dict[str, Any] = SMALL | {"time_steps": 16}


def config_of(npz: Path, changes: dict[str, Any]) -> bitnet.Config:
    return bitnet.Config(data=str(npz), validation_fraction=0.2, epochs=1, device="cpu", **changes)


def print_peaks(npz: Path, data_folder: Path, *runs: tuple[dict[str, Any], int]) -> None:
    """Train configs one after another, each in so many parts, and print what each has measured."""
    dataset = prepare(str(npz), data_folder)
    measured = []
    for changes, num_micro_batches in runs:
        config = config_of(npz, changes)
        (report,) = bitnet.train(config, seed=0, dataset=dataset, num_micro_batches=num_micro_batches)
        measured.append(report.metrics["memory/peak_bytes"])
    print(measured)


@linux
def test_what_is_measured_is_what_was_predicted(data_folder: Path, tmp_path: Path) -> None:
    """In a process that is used again, a small config, a large one, and the large one in parts are measured in the order of their
    footprints, each within a factor of 2 of it (1.3 where it was tried), and the same whether they come second or later.
    """
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, num in (("train", 200), ("test", 64)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(num) % 10
    npz = tmp_path / "noise.npz"
    np.savez(npz, allow_pickle=False, **arrays)
    runs = [(SMALL, 1), (LARGE, 1), (LARGE, 4), (SMALL, 1), (LARGE, 1)]
    call = f"print_peaks(Path({str(npz)!r}), Path({str(data_folder)!r}), *{runs!r})"
    finished = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import *; {call}"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _, large, in_parts, small, large_again = ast.literal_eval(finished.stdout)
    predicted = [bitnet.footprint(config_of(npz, changes), (32, 32, 3), 10, parts).memory_bytes for changes, parts in runs]
    for prediction, measured in zip(predicted[1:], (large, in_parts, small, large_again), strict=True):
        assert 0.5 < prediction / measured < 2
    assert small < large / 1.5
    assert in_parts < large / 1.5
    assert large_again == pytest.approx(large, rel=0.2)


TOO_MUCH = """
import mmap, resource
import numpy, torch
from trainables.training.memory_peak import is_out_of_memory
layer, images = torch.nn.Conv2d(3, 64, 3), torch.zeros(16, 3, 64, 64)
resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30,) * 2)
for take in (
    lambda: torch.empty(2**34),
    lambda: layer(images.expand(10**6, 16, 3, 64, 64).reshape(-1, 3, 64, 64)),
    lambda: numpy.ones(2**34),
    lambda: bytearray(2**34),
    lambda: mmap.mmap(-1, 2**34),
):
    try:
        take()
    except BaseException as error:
        print(type(error).__name__, is_out_of_memory(error))
layer(images).sum().backward()
print("alive")
"""


@linux
def test_running_out_of_memory_is_recognised() -> None:
    """In a process that may have 8 GiB of addresses, torch's, numpy's, Python's and the system's refusals are known for it."""
    command = [sys.executable, "-c", TOO_MUCH]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == ["RuntimeError True"] * 2 + ["MemoryError True"] * 2 + ["OSError True", "alive"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ValueError("out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_other_errors_are_not(error: BaseException, expected: bool) -> None:
    """A GPU's refusals count, as torch words them; other errors of the machine, and words in other errors, do not."""
    assert is_out_of_memory(error) is expected
