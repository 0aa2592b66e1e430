"""Which images a network has judged right, as a text that is short enough to be stored with every run.

``359 9f2c5a01b7d4e683 7f/3…``: how many images, a digest that tells sets of images apart, and a bit for every image in their
order, eight to a byte from the highest bit, in Base64. 10,000 images take 1,700 characters.
"""

import base64
import hashlib
import math

import numpy as np
from torch import Tensor

DIGEST_DIGITS = 16


def packed(correct_N: Tensor, indices_N: Tensor) -> str:
    """The text.

    Args:
        correct_N: Whether each image was judged right, as booleans.
        indices_N: The places of these images in the data set.
    """
    digest = hashlib.sha256(indices_N.cpu().numpy().astype("<i8").tobytes()).hexdigest()[:DIGEST_DIGITS]
    bits = np.packbits(correct_N.cpu().numpy())
    return f"{len(correct_N)} {digest} {base64.b64encode(bits.tobytes()).decode()}"


def num_characters(num_images: int) -> int:
    """How long the text of this number of images is."""
    return len(str(num_images)) + DIGEST_DIGITS + 2 + 4 * math.ceil(math.ceil(num_images / 8) / 3)
