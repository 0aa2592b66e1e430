"""How much memory the kernels may use for each thread; in a module without Numba, as predictions need it too."""

EVALUATION_BYTES, EXACT_BYTES, GROUPED_BYTES = 2**23, 13 * 2**18, 2**24
"""Of what is kept of the images that are taken at once, one image at least: more of them share what a call costs. The exact
gradient's bits grow with the number of time steps, and must not limit it; means of groups are large but do not grow."""
MOST_LISTED_BYTES, MOST_STEPS = 2**23, 8
"""Of the spikes of one layer that are listed together, one time step at least."""
MOST_SAMPLED_BYTES = 2**17
"""Of the gradients of one layer that are listed together, one sample at least."""
