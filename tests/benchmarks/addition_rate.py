"""How long the kernels' inner loop takes to add a weight: the floor of what is event-driven."""

import time
from typing import Any

import numpy as np

from trainables.kernels.cpu.compiled.arrays import zeros
from trainables.kernels.cpu.compiled.compiling import kernel
from trainables.kernels.cpu.compiled.firing import Column, Kind, fire_column
from trainables.kernels.cpu.compiled.vectors import WIDE, WINDOW

NUM_EVENTS, TURNS = 1_000_000, 5
ROW_BYTES = 4 * WIDE


@kernel
def _add(rows: Any, events: Any, bounds: Any, neurons: Any, bits: Any, height: int) -> None:
    """Fire a column, whose first row has all events: ``bounds[1]``; ``neurons`` are start, drive, potential and threshold.

    That the height is 1 is not for the compiler to know: it would leave out two of the three sums, which nobody reads.
    """
    values = neurons.ctypes.data
    column = Column(
        rows=rows.ctypes.data,
        events=events.ctypes.data,
        bounds=bounds.ctypes.data,
        ending=events.ctypes.data,
        ending_bounds=bounds[2].ctypes.data,
        bounds_step=4 * bounds.shape[1],
        starts=values,
        starts_step=0,
        drives=values + ROW_BYTES,
        potential=values + 2 * ROW_BYTES,
        threshold=values + 3 * ROW_BYTES,
        spikes=bits.ctypes.data,
        spikes_step=0,
        masks=bits.ctypes.data + 4,
        masks_step=0,
        height=height,
    )
    fire_column(Kind(WIDE, True, False, np.float32(0), np.float32(1)), column)


def seconds_per_addition(table_kib: int) -> float:
    """Of one weight, where the rows of all events lie anywhere in a table of so many KiB; the fastest of some turns."""
    num_rows = table_kib * 1024 // (WINDOW * ROW_BYTES)
    rows = zeros(num_rows, WINDOW, WIDE)  # aligned as the kernels' own are
    rows[:] = 1e-6  # pages that nobody has written are one page, to the cache too
    events = np.random.default_rng(0).integers(0, num_rows, NUM_EVENTS).astype(np.int32)
    bounds, neurons, bits = np.zeros((5, 4), dtype=np.int32), np.ones((4, WIDE), dtype=np.float32), np.zeros(2, dtype=np.uint32)
    bounds[1, WINDOW] = NUM_EVENTS
    times = []
    for _ in range(TURNS):
        start = time.process_time()
        _add(rows, events, bounds, neurons, bits, 1)
        times.append(time.process_time() - start)
    return min(times) / (NUM_EVENTS * WINDOW * WIDE)
