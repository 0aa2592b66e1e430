"""The Triton kernels for GPUs: bddi neurons with their max pool, on bits.

Tensors lie with their channels last: a drive or its gradient is ``[T, B, H, W, C]`` in memory. A position is a neuron's pixel, or
the window of a 2x2 max pool, whose four neurons are its elements, row by row; P positions in all images, E elements. Bits lie in
bytes of eight channels, the first in the lowest bit: ``[T, P, C / 8]`` of spikes, ``[T, E, P, C / 8]`` of what lets the gradient
pass. Every program has a tile of positions and channels, and holds its membrane potentials in registers for all steps.
"""

import triton
import triton.language as tl

KEEP_BITS = tl.constexpr(1)
"""For the exact gradient: a bit for every neuron and step."""
KEEP_COUNTS = tl.constexpr(2)
"""For the rate-collapsed gradient: sums over the steps."""
SPLIT = tl.constexpr(2)
"""A max pool that shares its gradient among equal largest inputs."""
SHARE_UNIT = tl.constexpr(12)
"""Shares of 1, 1/2, 1/3 and 1/4 are whole numbers of twelfths."""


@triton.jit
def _pack(bits, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    eights = tl.reshape(bits, [BLOCK_P, BLOCK_C // 8, 8])
    return tl.sum(eights << tl.arange(0, 8)[None, None, :], axis=2).to(tl.uint8)


@triton.jit
def _fire(v, drive, threshold):
    """The equations of ``neurons``, clamped, in their order: membrane potential, spike, and whether the clamp lets through."""
    u = v + tl.minimum(tl.maximum(drive, 0.0), 1.0)
    spike = u >= threshold
    inside = (drive > 0.0) & (drive < 1.0)
    return tl.where(spike, u - threshold, u), spike.to(tl.int32), inside.to(tl.int32)


@triton.jit
def _store_window(at, element, b0, b1, b2, b3, mask, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    tl.store(at, _pack(b0, BLOCK_P, BLOCK_C), mask=mask)
    tl.store(at + element, _pack(b1, BLOCK_P, BLOCK_C), mask=mask)
    tl.store(at + 2 * element, _pack(b2, BLOCK_P, BLOCK_C), mask=mask)
    tl.store(at + 3 * element, _pack(b3, BLOCK_P, BLOCK_C), mask=mask)


@triton.jit
def _as(bits, pointer):
    return bits.to(tl.float32).to(pointer.dtype.element_ty)  # Triton's interpreter knows no way from integers to bfloat16


@triton.jit
def _add(counts, at, more, mask):
    so_far = tl.load(counts + at, mask=mask, other=0)
    tl.store(counts + at, (so_far + more).to(counts.dtype.element_ty), mask=mask)


@triton.jit
def _add_window(counts, at, element, n0, n1, n2, n3, mask):
    _add(counts, at, n0, mask)
    _add(counts, at + element, n1, mask)
    _add(counts, at + 2 * element, n2, mask)
    _add(counts, at + 3 * element, n3, mask)


@triton.jit
def _bias(bias, c, C, HAS_BIAS: tl.constexpr):
    if HAS_BIAS:
        return tl.load(bias + c, mask=c < C, other=0.0)
    return tl.zeros(c.shape, tl.float32)


@triton.jit
def _start(v, at, mask, threshold, initial, FIRST: tl.constexpr):
    if FIRST:
        return tl.zeros(at.shape, tl.float32) + initial * threshold
    return tl.load(v + at, mask=mask, other=0.0)


@triton.jit
def _tile(P, C, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """A program's positions, channels and bytes, and whether they are there."""
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    byte = tl.program_id(1) * (BLOCK_C // 8) + tl.arange(0, BLOCK_C // 8)[None, :]
    return p, c, byte, (p < P) & (c < C), (p < P) & (byte < (C + 7) // 8)


@triton.jit
def fire(
    drive,
    bias,
    firing_threshold,
    v,
    spikes,
    spike_bits,
    passing_bits,
    spike_counts,
    passing_counts,
    time_steps,
    P,
    C,
    drive_step,
    initial,
    HAS_BIAS: tl.constexpr,
    FIRST: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Clamp, integrate, fire, reset and pack, without a pool: one neuron a position."""
    p, c, byte, there, bytes_there = _tile(P, C, BLOCK_P, BLOCK_C)
    num_bytes = (C + 7) // 8
    at, byte_at = p * C + c, p * num_bytes + byte
    threshold = tl.load(firing_threshold)
    shift = _bias(bias, c, C, HAS_BIAS)
    u = _start(v, at, there, threshold, initial, FIRST)
    num_spikes = tl.zeros([BLOCK_P, BLOCK_C], tl.int32)
    num_passing = tl.zeros([BLOCK_P, BLOCK_C], tl.int32)
    for _ in range(time_steps):
        u, spike, inside = _fire(u, tl.load(drive + at, mask=there, other=0.0).to(tl.float32) + shift, threshold)
        tl.store(spikes + at, _as(spike, spikes), mask=there)
        if KEEP == KEEP_BITS:
            tl.store(spike_bits + byte_at, _pack(spike, BLOCK_P, BLOCK_C), mask=bytes_there)
            tl.store(passing_bits + byte_at, _pack(inside, BLOCK_P, BLOCK_C), mask=bytes_there)
            spike_bits += P * num_bytes
            passing_bits += P * num_bytes
        if KEEP == KEEP_COUNTS:
            num_spikes += spike
            num_passing += inside
        drive += drive_step
        spikes += P * C
    if KEEP == KEEP_COUNTS:
        _add(spike_counts, at, num_spikes, there)
        _add(passing_counts, at, num_passing, there)
    tl.store(v + at, u, mask=there)


@triton.jit
def _winners(s0, s1, s2, s3, POOL: tl.constexpr):
    """The elements that a window's gradient goes to: the first largest, or all of them."""
    none = 1 - (s0 | s1 | s2 | s3)
    if POOL == SPLIT:
        return s0 | none, s1 | none, s2 | none, s3 | none
    return s0 | none, s1 & (1 - s0), s2 & (1 - (s0 | s1)), s3 & (1 - (s0 | s1 | s2))


@triton.jit
def fire_and_pool(
    drive,
    bias,
    firing_threshold,
    v,
    spikes,
    spike_bits,
    passing_bits,
    winner_bits,
    spike_counts,
    passing_counts,
    time_steps,
    P,
    C,
    H,
    W,
    drive_step,
    initial,
    POOL: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FIRST: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Fire all steps of the neurons and take the 2x2 max pool of their spikes, which is an OR; partial windows are left out."""
    p, c, byte, there, bytes_there = _tile(P, C, BLOCK_P, BLOCK_C)
    num_bytes = (C + 7) // 8
    at, byte_at = p * C + c, p * num_bytes + byte
    image, y, x = p // ((H // 2) * (W // 2)), p // (W // 2) % (H // 2), p % (W // 2)
    d0 = ((image * H + 2 * y) * W + 2 * x) * C + c
    threshold = tl.load(firing_threshold)
    shift = _bias(bias, c, C, HAS_BIAS)
    u0 = _start(v, at, there, threshold, initial, FIRST)
    u1 = _start(v, at + P * C, there, threshold, initial, FIRST)
    u2 = _start(v, at + 2 * P * C, there, threshold, initial, FIRST)
    u3 = _start(v, at + 3 * P * C, there, threshold, initial, FIRST)
    none = tl.zeros([BLOCK_P, BLOCK_C], tl.int32)
    num_spikes, n0, n1, n2, n3 = none, none, none, none, none
    for _ in range(time_steps):
        u0, s0, i0 = _fire(u0, tl.load(drive + d0, mask=there, other=0.0).to(tl.float32) + shift, threshold)
        u1, s1, i1 = _fire(u1, tl.load(drive + d0 + C, mask=there, other=0.0).to(tl.float32) + shift, threshold)
        u2, s2, i2 = _fire(u2, tl.load(drive + d0 + W * C, mask=there, other=0.0).to(tl.float32) + shift, threshold)
        u3, s3, i3 = _fire(u3, tl.load(drive + d0 + W * C + C, mask=there, other=0.0).to(tl.float32) + shift, threshold)
        pooled = s0 | s1 | s2 | s3
        tl.store(spikes + at, _as(pooled, spikes), mask=there)
        if KEEP != 0:
            w0, w1, w2, w3 = _winners(s0, s1, s2, s3, POOL)
        if KEEP == KEEP_BITS:
            element = P * num_bytes
            tl.store(spike_bits + byte_at, _pack(pooled, BLOCK_P, BLOCK_C), mask=bytes_there)
            at_bits = passing_bits + byte_at
            _store_window(at_bits, element, w0 & i0, w1 & i1, w2 & i2, w3 & i3, bytes_there, BLOCK_P, BLOCK_C)
            spike_bits += element
            passing_bits += 4 * element
            if POOL == SPLIT:
                _store_window(winner_bits + byte_at, element, w0, w1, w2, w3, bytes_there, BLOCK_P, BLOCK_C)
                winner_bits += 4 * element
        if KEEP == KEEP_COUNTS:
            share = none + 1
            if POOL == SPLIT:
                share = SHARE_UNIT // (w0 + w1 + w2 + w3)
            num_spikes += pooled
            n0 += (w0 & i0) * share
            n1 += (w1 & i1) * share
            n2 += (w2 & i2) * share
            n3 += (w3 & i3) * share
        drive += drive_step
        spikes += P * C
    if KEEP == KEEP_COUNTS:
        _add(spike_counts, at, num_spikes, there)
        _add_window(passing_counts, at, P * C, n0, n1, n2, n3, there)
    tl.store(v + at, u0, mask=there)
    tl.store(v + at + P * C, u1, mask=there)
    tl.store(v + at + 2 * P * C, u2, mask=there)
    tl.store(v + at + 3 * P * C, u3, mask=there)


@triton.jit
def _bit(bits, row, c, num_bytes, mask):
    byte = tl.load(bits + row * num_bytes + c // 8, mask=mask, other=0).to(tl.int32)
    return (byte >> (c % 8)) & 1


@triton.jit
def pass_gradient(
    grad,
    passing,
    winner_bits,
    grad_drive,
    time_steps,
    P,
    C,
    H,
    W,
    drive_step,
    shares,
    scale,
    E: tl.constexpr,
    KEPT: tl.constexpr,
    CONSTANT: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradient of the spikes, or of their pool, at the drives: bits say where it passes, or counts times ``shares``
    times ``scale`` how much.

    A drive that is constant in time gathers that of all steps.
    """
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    e = tl.program_id(2)
    there = (p < P) & (c < C)
    num_bytes = (C + 7) // 8
    pixel = p
    if E == 4:
        image, y, x = p // ((H // 2) * (W // 2)), p // (W // 2) % (H // 2), p % (W // 2)
        pixel = (image * H + 2 * y + e // 2) * W + 2 * x + e % 2
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for _ in range(time_steps):
        g = tl.load(grad + p * C + c, mask=there, other=0.0).to(tl.float32)
        if KEPT == KEEP_COUNTS:
            count = tl.load(passing + (e * P + p) * C + c, mask=there, other=0)
            g *= count.to(tl.float32) * (tl.load(shares) * scale)
            passing += E * P * C
            shares += 1
        else:
            g *= _bit(passing, e * P + p, c, num_bytes, there)
            passing += E * P * num_bytes
        if winner_bits is not None:
            num_winners = _bit(winner_bits, p, c, num_bytes, there)
            num_winners += _bit(winner_bits, P + p, c, num_bytes, there)
            num_winners += _bit(winner_bits, 2 * P + p, c, num_bytes, there)
            num_winners += _bit(winner_bits, 3 * P + p, c, num_bytes, there)
            g /= tl.maximum(num_winners, 1)
            winner_bits += E * P * num_bytes
        if CONSTANT:
            total += g
        else:
            tl.store(grad_drive + pixel * C + c, g.to(grad_drive.dtype.element_ty), mask=there)
            grad_drive += drive_step
        grad += P * C
    if CONSTANT:
        tl.store(grad_drive + pixel * C + c, total.to(grad_drive.dtype.element_ty), mask=there)


@triton.jit
def unpack(bits, values, P, C, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Bits ``[P, C / 8]`` as values ``[P, C]``."""
    p = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)[:, None]  # all steps at once
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    there = (p < P) & (c < C)
    bit = _bit(bits, p, c, (C + 7) // 8, there)
    tl.store(values + p * C + c, _as(bit, values), mask=there)
