"""A batch of training images in one pass: each is read, downscaled, moved, changed, normalised and erased before the next.

``trainables.data.augmented_images`` has the same in PyTorch's operations, to the bit, which take several times as long.
"""

from typing import Any, NamedTuple

import numpy as np

from trainables.kernels.cpu.compiled.compiling import inlined, kernel
from trainables.kernels.cpu.compiled.image_operations import NUM_LEVELS, change, table_of_moves

LARGE = np.float32(3 << 22)
"""A float32 of this size has no fraction."""


class Moves(NamedTuple):
    """From where the pixels of every image come; arrays for no images where none are moved so.

    Attributes:
        starts_2B: The row and column of the image that it begins at, which may lie outside.
        reflects: Whether the image mirrored at its border is outside, rather than black.
        is_mirrored_B: Whether it is then mirrored left to right.
        cosines_B: Of the angle that it is then turned by, counter-clockwise; outside is black.
        sines_B: Of the same.
    """

    starts_2B: Any
    reflects: bool
    is_mirrored_B: Any
    cosines_B: Any
    sines_B: Any


class Changes(NamedTuple):
    """What TrivialAugment does to every image, see ``image_operations.change``; ``drawn_B`` is empty where it does nothing.

    ``places_RP`` says for every variant of its moves from which pixel each one comes, counted from 1; 0 is black.
    """

    drawn_B: Any
    variants: int
    places_RP: Any
    levels_RL: Any
    ratios_V: Any
    rests_V: Any


@kernel
def training_images(
    images_NHWC: Any,
    indices_B: Any,
    block: int,
    moves: Moves,
    changes: Changes,
    mean: Any,
    std: Any,
    rectangles_R4B: Any,
    results_BCHW: Any,
) -> None:
    """Make the training images with these indices of the images of a data set, of uint8, as float32.

    Args:
        images_NHWC: All of them, contiguous.
        indices_B: Which.
        block: The side of the blocks of pixels whose rounded mean is a pixel.
        moves: Crop, mirror image and rotation.
        changes: TrivialAugment.
        mean: Of levels over 255, ``[C, 1, 1]`` or ``[C, H, W]``; it is subtracted.
        std: ``[C, 1, 1]``; what is left is divided by it.
        rectangles_R4B: What is set to 0 then: top, bottom, left and right, the second and fourth excluded.
        results_BCHW: Where they are written to.
    """
    num_images, channels, height, width = results_BCHW.shape
    num_pixels, num_stored = height * width, images_NHWC.shape[1] * images_NHWC.shape[2] * channels
    # a black pixel stands before all others, so that what is outside needs no question: places are counted from 1
    pixels_N, others_N = np.zeros((1 + num_pixels) * channels, np.uint8), np.zeros((1 + num_pixels) * channels, np.uint8)
    places_P, others_P = np.zeros(1 + num_pixels, np.uint32), np.zeros(1 + num_pixels, np.uint32)
    table_P, columns_W = np.empty(num_pixels, np.uint32), np.empty(width, np.int32)
    sums_M = np.empty(images_NHWC.shape[2] * channels, np.int32)
    values_CL = _values_of_levels(mean, std)
    is_seen, is_turned, is_changed = len(moves.is_mirrored_B) > 0, len(moves.cosines_B) > 0, len(changes.drawn_B) > 0
    for b in range(num_images):
        image_N = images_NHWC[indices_B[b]].reshape(num_stored)
        if block == 1:
            pixels_N[channels:] = image_N
        else:
            _downscale(image_N, block, height, width, channels, sums_M, pixels_N)
        by_table = table_of_moves(changes.drawn_B[b], changes.variants) if is_changed else -1
        if is_seen or is_turned or by_table >= 0:
            _see(moves, b, height, width, columns_W, places_P)
            if is_turned:
                _turn(moves.cosines_B[b], moves.sines_B[b], height, width, table_P)
                _compose(table_P, places_P, others_P)
                places_P, others_P = others_P, places_P
            if by_table >= 0:
                _compose(changes.places_RP[by_table], places_P, others_P)
                places_P, others_P = others_P, places_P
            _move(pixels_N, places_P, channels, others_N)
            pixels_N, others_N = others_N, pixels_N
        if is_changed and by_table < 0:
            change(pixels_N[channels:], others_N[channels:], height, width, channels, changes, changes.drawn_B[b])
        _normalise(pixels_N[channels:], values_CL, mean, std, channels, results_BCHW[b])
        _erase(results_BCHW[b], rectangles_R4B, b)


@kernel
def _downscale(image_N: Any, block: int, height: int, width: int, channels: int, sums_M: Any, pixels_N: Any) -> None:
    """Whole rows are added, then columns; sums of levels are exact in float32 as PyTorch adds them.

    Here and below, numbers of channels and blocks that the compiler knows save half of the time.
    """
    if channels == 3 and block == 2:
        _downscale_by(image_N, 2, height, width, 3, sums_M, pixels_N)
    else:
        _downscale_by(image_N, block, height, width, channels, sums_M, pixels_N)


@inlined
def _downscale_by(image_N: Any, block: int, height: int, width: int, channels: int, sums_M: Any, pixels_N: Any) -> None:
    num_in_block, row_length, num_in_row = np.float32(block * block), len(sums_M), width * channels
    for y in range(height):
        sums_M[:] = 0
        for row in range(y * block, (y + 1) * block):
            for m in range(row_length):
                sums_M[m] += image_N[row * row_length + m]
        for x in range(width):  # what is read lies at the same place or behind it
            for c in range(channels):
                total = np.int32(0)
                for column in range(block):
                    total += sums_M[(x * block + column) * channels + c]
                sums_M[x * channels + c] = total
        for n in range(num_in_row):
            mean = _rounded(np.float32(sums_M[n]) / num_in_block)
            pixels_N[channels + y * num_in_row + n] = np.uint8(np.int32(mean))


@inlined
def _rounded(value: Any) -> Any:
    """To a whole number, half to even, as long as it is below two million; the compiler makes vectors of this, not of rint."""
    return value + LARGE - LARGE


@kernel
def _see(moves: Moves, b: int, height: int, width: int, columns_W: Any, places_P: Any) -> None:
    """From which pixel, counted from 1 row by row, each one comes in a crop and its mirror image; 0 is black."""
    if len(moves.is_mirrored_B) == 0:
        for p in range(1 + height * width):
            places_P[p] = p
        return
    top, left = moves.starts_2B[0, b], moves.starts_2B[1, b]
    for x in range(width):
        columns_W[x] = 1 + _place(left + (width - 1 - x if moves.is_mirrored_B[b] else x), width, moves.reflects)
    for y in range(height):
        row, first = _place(y + top, height, moves.reflects), 1 + y * width
        for x in range(width):
            places_P[first + x] = row * width + columns_W[x] if row >= 0 and columns_W[x] > 0 else 0


@inlined
def _place(place: int, length: int, reflects: bool) -> int:
    """Where a row or column comes from; -1 for what is black."""
    if reflects:
        return length - 1 - abs(length - 1 - abs(place))
    return place if 0 <= place < length else -1


@kernel
def _turn(cosine: Any, sine: Any, height: int, width: int, table_P: Any) -> None:
    """From which pixel, counted from 1, each one comes in a rotation: the nearest one; 0 is outside. See ``data.rotation``."""
    middle_x, middle_y = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
    zero, one, row_length, num_rows = np.float32(0), np.float32(1), np.float32(width), np.float32(height)
    for y in range(height):
        from_y = np.float32(y) - middle_y
        for x in range(width):
            from_x = np.float32(x) - middle_x
            column = _rounded(from_x * cosine - from_y * sine + middle_x)
            row = _rounded(from_x * sine + from_y * cosine + middle_y)
            inside = (column >= zero) & (column < row_length) & (row >= zero) & (row < num_rows)
            table_P[y * width + x] = np.int32(row * row_length + column + one if inside else zero)


@kernel
def _compose(table_P: Any, places_P: Any, results_P: Any) -> None:
    """From which pixel each one comes where pixels are moved by a table after they have been moved from their places."""
    for p in range(len(table_P)):
        results_P[1 + p] = places_P[table_P[p]]


@kernel
def _move(pixels_N: Any, places_P: Any, channels: int, results_N: Any) -> None:
    if channels == 3:
        _move_channels(pixels_N, places_P, 3, results_N)
    else:
        _move_channels(pixels_N, places_P, channels, results_N)


@inlined
def _move_channels(pixels_N: Any, places_P: Any, channels: int, results_N: Any) -> None:
    for p in range(1, len(places_P)):
        for c in range(channels):
            results_N[p * channels + c] = pixels_N[places_P[p] * np.uint32(channels) + np.uint32(c)]


@kernel
def _values_of_levels(mean: Any, std: Any) -> Any:
    """What every level becomes in every channel, ``[C, 256]``; nothing of use where every pixel has a mean of its own."""
    values_CL = np.empty((len(std), NUM_LEVELS), np.float32)
    for c in range(len(std)):
        for level in range(NUM_LEVELS):
            values_CL[c, level] = (np.float32(level) / np.float32(255) - mean[c, 0, 0]) / std[c, 0, 0]
    return values_CL


@kernel
def _normalise(pixels_N: Any, values_CL: Any, mean: Any, std: Any, channels: int, result_CHW: Any) -> None:
    if mean.size > channels:
        _normalise_by_pixels(pixels_N, mean, std, channels, result_CHW)
    elif channels == 3:
        _normalise_by_table(pixels_N, values_CL, 3, result_CHW)
    else:
        _normalise_by_table(pixels_N, values_CL, channels, result_CHW)


@inlined
def _normalise_by_table(pixels_N: Any, values_CL: Any, channels: int, result_CHW: Any) -> None:
    num_pixels = result_CHW.shape[1] * result_CHW.shape[2]
    for c in range(channels):
        result_P, values_L = result_CHW[c].reshape(num_pixels), values_CL[c]
        for p in range(num_pixels):
            result_P[p] = values_L[pixels_N[p * channels + c]]


@inlined
def _normalise_by_pixels(pixels_N: Any, mean_CHW: Any, std: Any, channels: int, result_CHW: Any) -> None:
    num_pixels = result_CHW.shape[1] * result_CHW.shape[2]
    for c in range(channels):
        result_P, mean_P = result_CHW[c].reshape(num_pixels), mean_CHW[c].reshape(num_pixels)
        for p in range(num_pixels):
            result_P[p] = (np.float32(pixels_N[p * channels + c]) / np.float32(255) - mean_P[p]) / std[c, 0, 0]


@kernel
def _erase(result_CHW: Any, rectangles_R4B: Any, b: int) -> None:
    channels, height, width = result_CHW.shape
    for r in range(len(rectangles_R4B)):
        top, bottom = max(rectangles_R4B[r, 0, b], 0), min(rectangles_R4B[r, 1, b], height)
        left, right = max(rectangles_R4B[r, 2, b], 0), min(rectangles_R4B[r, 3, b], width)
        for c in range(channels):
            for y in range(top, bottom):
                for x in range(left, right):
                    result_CHW[c, y, x] = np.float32(0)


@kernel
def paste(images_BCHW: Any, top: int, bottom: int, left: int, right: int) -> None:
    """Put a rectangle of the image before into every image, of the last one into the first."""
    num_images, channels = images_BCHW.shape[:2]
    last_CHW = images_BCHW[-1, :, top:bottom, left:right].copy()
    for b in range(num_images - 1, 0, -1):
        for c in range(channels):
            for y in range(top, bottom):
                for x in range(left, right):
                    images_BCHW[b, c, y, x] = images_BCHW[b - 1, c, y, x]
    images_BCHW[0, :, top:bottom, left:right] = last_CHW
