"""How much memory the kernels may use for each thread; in a module without Numba, as predictions need it too."""

EVALUATION_BYTES, EXACT_BYTES, GROUPED_BYTES = 2**23, 13 * 2**18, 2**24
"""Bytes that are kept of the images that a thread takes at once, at least one image: for evaluation, for the exact gradient, and
for the rate-collapsed one. More images share the cost of a call. The bits of an exact gradient grow with the number of time
steps; the means of a rate-collapsed one are large but do not grow."""
MOST_LISTED_BYTES, MOST_STEPS = 2**23, 8
"""Bytes, and time steps, of one layer's spikes that are listed together; at least one time step."""
MOST_SAMPLED_BYTES = 2**17
"""Bytes of one layer's gradients that are listed together; at least one sample."""
