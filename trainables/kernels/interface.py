"""What the training loop asks of a backend, and what a backend offers: protocols and plain data.

A backend is code that runs a network in the place of plain torch, up to the drive of its output layer; what is read from that,
by neurons or without, is ``networks.readout``'s. The backends (``kernels.cpu``, ``kernels.gpu``) know this
module and not each other; ``kernels.choice`` alone imports them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from trainables.networks.precision import Precision
from trainables.spiking.costs import OperationCounter

Backend = Literal["auto", "torch", "event_driven", "triton"]
"""What a config may ask for."""
KernelBackend = Literal["event_driven", "triton"]
"""Those with kernels of their own: event-driven ones for CPUs, fused Triton ones for GPUs."""
OutputsOf = Callable[[Tensor], Tensor]
"""The outputs ``[T, B', classes]``, with gradient, of a drive ``[T, B', classes]``; such as ``Readout.outputs``."""
LossOf = Callable[[Tensor, slice], Tensor]
"""The mean loss of outputs ``[T, B', classes]``; the slice says which images of the batch they belong to."""


class Evaluating(Protocol):
    """Runs a network without gradients."""

    def drives(self, images_BCHW: Tensor, counter: OperationCounter | None = None) -> Tensor:
        """The output layer's drive ``[T, B, classes]`` for images that are the same input at every time step.

        ``counter`` is told the cost of all layers, and the activity of all but the output neurons.
        """


class Training(Protocol):
    """Runs a network forward and backward."""

    def gradients(self, images_BCHW: Tensor, outputs_of: OutputsOf, loss_of: LossOf) -> tuple[Tensor, Tensor]:
        """The mean loss over a batch, and the output layer's drive ``[T, B, classes]``; gradients are added to those of the
        parameters.

        Args:
            images_BCHW: The same input at every time step.
            outputs_of: Says what the loss sees of the output layer's drive, for some images of the batch.
            loss_of: Of these outputs and which images they are of: their mean loss. Its gradient at the drive goes on as it is.
        """


@dataclass(frozen=True, kw_only=True)
class BackendRequest:
    """How a network is to be run: what decides whether a backend supports it.

    Attributes:
        wanted: The ``backend`` of the config.
        input_map: Height and width of the images, in pixels.
        time_steps: T.
        constant_input: Whether an image is the same input at every time step.
        precision: Floating-point type of the convolutions.
    """

    wanted: Backend
    input_map: tuple[int, int]
    time_steps: int
    constant_input: bool
    precision: Precision = "float32"
