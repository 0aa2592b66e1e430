"""A batch of images augmented, one after another, where calls of PyTorch's operations take most of the time.

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
def view(images_BHWC: Any, starts_2B: Any, reflects: bool, is_mirrored_B: Any, views_BHWC: Any) -> None:
    """Every image from a row and a column on, which may lie outside, and mirrored left to right where that is asked for.

    Outside is black, or with ``reflects`` the image mirrored at its border.
    """
    num_images, height, width, channels = images_BHWC.shape
    columns = np.empty(width, np.int64)
    for b in range(num_images):
        for x in range(width):
            column = starts_2B[1, b] + (width - 1 - x if is_mirrored_B[b] else x)
            columns[x] = _place(column, width, reflects)
        for y in range(height):
            row = _place(y + starts_2B[0, b], height, reflects)
            for x in range(width):
                column = columns[x]
                for c in range(channels):
                    views_BHWC[b, y, x, c] = images_BHWC[b, row, column, c] if row >= 0 and column >= 0 else np.uint8(0)


@kernel
def _place(place: int, length: int, reflects: bool) -> int:
    """Where a row or column comes from; -1 for what is black."""
    if reflects:
        return length - 1 - abs(length - 1 - abs(place))
    return place if 0 <= place < length else -1


@kernel
def erase(images_BCHW: Any, rectangles_R4B: Any) -> None:
    """Set the inside of every image's rectangles to 0, in its place: from top to bottom and left to right, without the last."""
    num_images, channels, height, width = images_BCHW.shape
    for r in range(len(rectangles_R4B)):
        for b in range(num_images):
            top, bottom = max(rectangles_R4B[r, 0, b], 0), min(rectangles_R4B[r, 1, b], height)
            left, right = max(rectangles_R4B[r, 2, b], 0), min(rectangles_R4B[r, 3, b], width)
            for c in range(channels):
                for y in range(top, bottom):
                    for x in range(left, right):
                        images_BCHW[b, c, y, x] = np.float32(0)


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
def change(images_BHWC: Any, drawn_B: Any, variants: int, places_RP: Any, levels_RL: Any, ratios_V: Any, rests_V: Any) -> None:
    """Change every image in its place by the operation of TrivialAugment that was drawn for it.

    Args:
        images_BHWC: Of one channel or three.
        drawn_B: Operation · variants + variant; the operations are 0 identity, 1 to 5 moves, 6 to 8 tables of levels, 9 colour,
            10 contrast, 11 sharpness, 12 automatic contrast, 13 equalisation.
        variants: How many an operation has.
        places_RP: For every variant of the moves, from which pixel each comes, counted from 1; 0 is black.
        levels_RL: For every variant of the tables, what becomes of each level.
        ratios_V: What an image is multiplied by in blends.
        rests_V: And what it is blended with.
    """
    num_images, height, width, channels = images_BHWC.shape
    before, table = np.empty(height * width * channels, np.uint8), np.empty(NUM_LEVELS, np.uint8)
    for b in range(num_images):
        pixels_N = images_BHWC[b].reshape(height * width * channels)
        operation, variant = drawn_B[b] // variants, drawn_B[b] % variants
        before[:] = pixels_N
        if 1 <= operation <= 5:
            _move(before, pixels_N, places_RP[drawn_B[b] - variants], channels)
        elif 6 <= operation <= 8:
            _look_up(pixels_N, 0, 1, levels_RL[drawn_B[b] - 6 * variants])
        elif operation == 9:
            _colour(pixels_N, channels, ratios_V[variant], rests_V[variant])
        elif operation == 10:
            _contrast(pixels_N, channels, ratios_V[variant], rests_V[variant], table)
        elif operation == 11:
            _sharpen(before, pixels_N, height, width, channels, rests_V[variant])
        elif operation == 12:
            _stretch(pixels_N, channels, table)
        elif operation == 13:
            _equalise(pixels_N, channels, table)


@kernel
def _move(before: Any, pixels_N: Any, places_P: Any, channels: int) -> None:
    for p in range(len(places_P)):
        place = places_P[p]
        for c in range(channels):
            pixels_N[p * channels + c] = before[(place - 1) * channels + c] if place > 0 else np.uint8(0)


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
    for first in range(0, len(pixels_N), 3):
        grey = np.float64(rest) * np.float64(_grey(pixels_N, first))
        for n in range(first, first + 3):
            own = np.float32(pixels_N[n]) * ratio
            pixels_N[n] = _rounded_down(np.float32(np.float64(own) + grey))


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
    for y in range(1, height - 1):
        for n in range(y * row + channels, y * row + row - channels):
            total = 4 * int(before[n])
            for line in range(n - row, n + row + 1, row):
                total += int(before[line - channels]) + int(before[line]) + int(before[line + channels])
            blurred = (2 * total + 13) * 20165 >> 19  # divided by 26, as long as it is less than 13 · 512
            change_by = np.float64(rest) * np.float64(blurred - int(before[n]))
            pixels_N[n] = _rounded_down(np.float32(np.float64(before[n]) + change_by))


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
