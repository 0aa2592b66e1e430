"""What is drawn for images and done to them one after another, where calls of PyTorch's operations would take most of the time.

``trainables.data`` has the same in PyTorch's operations, to the bit. Sums of products that are rounded once there are float64
here, where the products are exact.
"""

from typing import Any

import numpy as np

from trainables.kernels.cpu.compiled.compiling import kernel

NUM_LEVELS = 256
RED, GREEN, BLUE = np.float32(0.2989), np.float64(np.float32(0.587)), np.float64(np.float32(0.114))
PER_LEVEL = np.float32(1 / 255)


@kernel
def draw_square(uniform_UB: Any, side: int, height: int, width: int, square_4B: Any) -> None:
    """See ``data.erasing``: of two uniform numbers for every image, the place of its centre."""
    for b in range(uniform_UB.shape[1]):
        top = int(uniform_UB[0, b] * height) - side // 2
        left = int(uniform_UB[1, b] * width) - side // 2
        square_4B[0, b], square_4B[1, b], square_4B[2, b], square_4B[3, b] = top, top + side, left, left + side


@kernel
def draw_rectangle(uniform_UB: Any, probability: float, bounds: Any, height: int, width: int, rectangle_4B: Any) -> None:
    """See ``data.erasing``: of uniform numbers for every image, whether it has one, its place, and then area and shape by turns.

    ``bounds`` are those of the share of the image's area, and of height over width.
    """
    smallest, largest, flattest, steepest = bounds
    for b in range(uniform_UB.shape[1]):
        rectangle_4B[:, b] = 0
        if uniform_UB[0, b] >= probability:
            continue
        for u in range(3, len(uniform_UB), 2):
            area = height * width * (smallest + (largest - smallest) * uniform_UB[u, b])
            shape = np.exp(np.log(flattest) + (np.log(steepest) - np.log(flattest)) * uniform_UB[u + 1, b])
            rows, columns = int(np.rint(np.sqrt(area * shape))), int(np.rint(np.sqrt(area / shape)))
            if rows < height and columns < width:
                top, left = int(uniform_UB[1, b] * (height - rows + 1)), int(uniform_UB[2, b] * (width - columns + 1))
                rectangle_4B[0, b], rectangle_4B[1, b] = top, top + rows
                rectangle_4B[2, b], rectangle_4B[3, b] = left, left + columns
                break


@kernel
def table_of_moves(drawn: int, variants: int) -> int:
    """Which of the tables of TrivialAugment's moves was drawn for an image; -1 for none."""
    return drawn - variants if 1 <= drawn // variants <= 5 else -1


@kernel
def change(pixels_N: Any, copy_N: Any, height: int, width: int, channels: int, tables: Any, drawn: int) -> None:
    """Change an image in its place by the operation of TrivialAugment that was drawn for it.

    Args:
        pixels_N: Of one channel or three, channels last.
        copy_N: Memory of that size.
        height: Of the image.
        width: Of the image.
        channels: Of the image.
        tables: ``levels_RL``, what becomes of each level by every variant of the tables; ``ratios_V`` and ``rests_V``, what an
            image is multiplied by in blends, and what it is blended with; ``variants``, how many an operation has.
        drawn: Operation · variants + variant; the operations are 0 identity, 1 to 5 moves, which are not made here, 6 to 8
            tables of levels, 9 colour, 10 contrast, 11 sharpness, 12 automatic contrast, 13 equalisation.
    """
    operation, variant = drawn // tables.variants, drawn % tables.variants
    table = np.empty(NUM_LEVELS, np.uint8)
    if 6 <= operation <= 8:
        _look_up(pixels_N, 0, 1, tables.levels_RL[drawn - 6 * tables.variants])
    elif operation == 9:
        _colour(pixels_N, channels, tables.ratios_V[variant], tables.rests_V[variant])
    elif operation == 10:
        _contrast(pixels_N, channels, tables.ratios_V[variant], tables.rests_V[variant], table)
    elif operation == 11:
        copy_N[:] = pixels_N
        _sharpen(copy_N, pixels_N, height, width, channels, tables.rests_V[variant])
    elif operation == 12:
        _stretch(pixels_N, channels, table)
    elif operation == 13:
        _equalise(pixels_N, channels, table)


@kernel
def _look_up(pixels_N: Any, first: int, step: int, table: Any) -> None:
    for n in range(first, len(pixels_N), step):
        pixels_N[n] = table[pixels_N[n]]


@kernel
def _rounded_down(value: Any) -> Any:
    """A grey level, cut off at 0 and 255."""
    return np.uint8(min(max(value, np.float32(0)), np.float32(255)))


@kernel
def _grey(pixels_N: Any, first: int) -> Any:
    """The grey level of the three numbers from ``first`` on, a whole number."""
    red = np.float32(pixels_N[first]) * RED
    with_green = np.float32(np.float64(red) + np.float64(pixels_N[first + 1]) * GREEN)
    return np.floor(np.float32(np.float64(with_green) + np.float64(pixels_N[first + 2]) * BLUE))


@kernel
def _colour(pixels_N: Any, channels: int, ratio: Any, rest: Any) -> None:
    if channels == 1:  # which is grey
        return
    greys_N = np.empty(len(pixels_N), np.float64)
    for first in range(0, len(pixels_N), 3):
        grey = np.float64(rest) * np.float64(_grey(pixels_N, first))
        greys_N[first], greys_N[first + 1], greys_N[first + 2] = grey, grey, grey
    for n in range(len(pixels_N)):
        own = np.float32(pixels_N[n]) * ratio
        pixels_N[n] = _rounded_down(np.float32(np.float64(own) + greys_N[n]))


@kernel
def _contrast(pixels_N: Any, channels: int, ratio: Any, rest: Any, table: Any) -> None:
    total, num_pixels = 0, len(pixels_N) // channels
    for p in range(num_pixels):
        total += int(_grey(pixels_N, 3 * p)) if channels == 3 else int(pixels_N[p])
    mean = np.float64(rest) * np.float64(np.float32(total) / np.float32(num_pixels))
    for level in range(NUM_LEVELS):
        own = np.float32(level) * ratio
        table[level] = _rounded_down(np.float32(np.float64(own) + mean))
    _look_up(pixels_N, 0, 1, table)


@kernel
def _sharpen(before: Any, pixels_N: Any, height: int, width: int, channels: int, rest: Any) -> None:
    """The mean of 13ths is never half a level, so that whole numbers round it as floating point does. The border stays."""
    row = width * channels
    sums_M = np.empty(row, np.int32)
    for y in range(1, height - 1):
        above_M, own_M, below_M = before[(y - 1) * row : y * row], before[y * row :], before[(y + 1) * row :]
        results_M = pixels_N[y * row : (y + 1) * row]
        for m in range(row):
            sums_M[m] = np.int32(above_M[m]) + np.int32(own_M[m]) + np.int32(below_M[m])
        for m in range(channels, row - channels):
            own = np.int32(own_M[m])
            total = sums_M[m - channels] + sums_M[m] + sums_M[m + channels] + 4 * own
            blurred = (2 * total + 13) * 20165 >> 19  # divided by 26, as long as it is less than 13 · 512
            change_by = np.float64(rest) * np.float64(blurred - own)
            results_M[m] = _rounded_down(np.float32(np.float64(own) + change_by))


@kernel
def _stretch(pixels_N: Any, channels: int, table: Any) -> None:
    for c in range(channels):
        lowest, highest = 255, 0
        for n in range(c, len(pixels_N), channels):
            lowest, highest = min(lowest, int(pixels_N[n])), max(highest, int(pixels_N[n]))
        if lowest < highest:
            width = np.float32(highest - lowest) * PER_LEVEL
            for level in range(lowest, highest + 1):
                table[level] = _rounded_down(np.float32(level - lowest) / width)
            _look_up(pixels_N, c, channels, table)


@kernel
def _equalise(pixels_N: Any, channels: int, table: Any) -> None:
    for c in range(channels):
        counts, highest = np.zeros(NUM_LEVELS, np.int64), 0
        for n in range(c, len(pixels_N), channels):
            counts[pixels_N[n]] += 1
            highest = max(highest, int(pixels_N[n]))
        step = (len(pixels_N) // channels - counts[highest]) // 255
        if step > 0:
            below = 0
            for level in range(NUM_LEVELS):
                table[level] = min((below + step // 2) // step, 255)
                below += counts[level]
            _look_up(pixels_N, c, channels, table)
