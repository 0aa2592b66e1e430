"""The sizes of a chain of layers: channels, maps, borders, and what of them is listed at once."""

from dataclasses import dataclass

from trainables.kernels.cpu.compiled.pooling import WINDOW_PIXELS
from trainables.kernels.cpu.memory_limits import MOST_LISTED_BYTES, MOST_STEPS
from trainables.kernels.cpu.supported import Layer

Map = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """The sizes of a layer.

    Attributes:
        layer: The layer.
        channels: The channels of its input.
        spikes_per_input: How many spikes of the layer before one input is the mean of: 4 behind a mean pool, else 1.
        input_map: Height and width of its input, in pixels.
        map: Height and width of its neurons' map.
        output_map: Height and width behind its pool.
        border: The width of the zeros around its output that the next layer, a convolution, reads: 1, else 0.
    """

    layer: Layer
    channels: int
    spikes_per_input: int
    input_map: Map
    map: Map
    output_map: Map
    border: int

    @property
    def outputs(self) -> int:
        """The channels of the layer's output."""
        return self.layer.channels

    @property
    def pixels(self) -> int:
        """Of its input."""
        height, width = self.input_map
        return height * width

    @property
    def spikes_per_output(self) -> int:
        """How many of its spikes are one input of the next layer."""
        return WINDOW_PIXELS if self.layer.pool == "mean" else 1

    def most_passing(self, *, grouped: bool) -> int:
        """Through how many neurons of a channel a sample's gradient passes at most: before an OR pool, one of each window."""
        height, width = self.output_map if self.layer.pool == "or" and not grouped else self.map
        return height * width

    def steps_at_once(self, time_steps: int) -> int:
        """How many time steps of its input are listed together."""
        height, width = self.input_map
        bytes_per_step = 8 * height * width * self.channels * self.spikes_per_input
        return max(1, min(time_steps, MOST_STEPS, MOST_LISTED_BYTES // bytes_per_step))


def shapes_of(layers: list[Layer], input_map: Map, channels: int) -> list[Shape]:
    """The sizes of a chain of layers, for input with this map and number of channels."""
    shapes: list[Shape] = []
    spikes_per_input = 1
    for number, layer in enumerate(layers):
        map_ = input_map if layer.convolution else (1, 1)
        output_map = (map_[0] // 2, map_[1] // 2) if layer.pool else map_
        border = int(number + 1 < len(layers) and layers[number + 1].convolution)
        shapes.append(Shape(layer, channels, spikes_per_input, input_map, map_, output_map, border))
        input_map, channels, spikes_per_input = output_map, layer.channels, shapes[-1].spikes_per_output
    return shapes
