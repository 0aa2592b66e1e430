"""The fixed images that thresholds and corrections are measured on, always in the same batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.data.datasets import Splits
from trainables.data.encodings import Encoding
from trainables.data.randomness import generator_for
from trainables.networks.network import Inputs, Network
from trainables.training.epochs.judging import encode, size_of_parts

BATCH_SIZE = 64


@dataclass(frozen=True)
class CalibrationSet:
    """Training images, chosen by the split's seed alone, shown for T time steps.

    Its batches have a size of their own, and everything measured is a maximum, a percentile or a mean over all images, so that
    neither batch size nor order of the training can change it. ``num_micro_batches`` makes the batches smaller.
    """

    images_BCHW: Tensor
    indices_B: Tensor
    splits: Splits
    encoding: Encoding
    seed: int
    num_micro_batches: int = 1

    @property
    def digest(self) -> str:
        """SHA-256 of the images' bytes and shape."""
        images = self.images_BCHW.cpu().contiguous().numpy()
        return hashlib.sha256(str(images.shape).encode() + images.tobytes()).hexdigest()

    def spiking_batches(self) -> Iterator[Inputs]:
        """The inputs of the spiking network, batch by batch; every call gives the same."""
        for images_BCHW, indices_B in self._batches():
            yield encode(self.encoding, self.splits, images_BCHW, indices_B, self.seed, "calibration")

    def analogue_batches(self) -> Iterator[Tensor]:
        """The inputs of the analogue network, batch by batch: ``[1, B, C, H, W]``."""
        for images_BCHW, _ in self._batches():
            yield self.splits.normalise(images_BCHW)[None]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        batch_size = size_of_parts(BATCH_SIZE, self.num_micro_batches)
        return zip(self.images_BCHW.split(batch_size), self.indices_B.split(batch_size), strict=True)  # type: ignore[no-untyped-call]


def calibration_set(
    splits: Splits, num_images: int, *, split_seed: int, encoding: Encoding, seed: int, num_micro_batches: int = 1
) -> CalibrationSet:
    """``num_images`` random training images (all, if there are fewer)."""
    order = torch.randperm(len(splits.train), generator=generator_for("calibration", split_seed))
    positions = order[:num_images].sort().values.to(splits.train.indices.device)
    images_BCHW, *_ = splits.train.batch(positions)
    return CalibrationSet(images_BCHW, splits.train.indices[positions], splits, encoding, seed, num_micro_batches)


class Recorder:
    """Sums up what every layer gives over all time steps, image by image; an ``Observer``."""

    def __init__(self, *layers: str) -> None:
        self._only = layers
        self._sums: dict[str, list[Tensor]] = {}
        self._continues: dict[str, bool] = {}

    def next_batch(self) -> None:
        """New images follow."""
        self._continues.clear()

    def inputs(self, layer: str, module: torch.nn.Module, inputs_TBN: Tensor) -> None:
        """Not used."""

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """Add to a layer's sums."""
        if self._only and layer not in self._only:
            return
        sums_BN = outputs_TBN.sum(dim=0).cpu()
        batches = self._sums.setdefault(layer, [])
        if self._continues.get(layer):
            batches[-1] += sums_BN
        else:
            batches.append(sums_BN)
            self._continues[layer] = True

    def sums(self) -> dict[str, Tensor]:
        """By layer: ``[images, …]``."""
        return {layer: torch.cat(batches) for layer, batches in self._sums.items()}


@torch.no_grad()
def analogue_activations(network: Network, calibration: CalibrationSet) -> dict[str, Tensor]:
    """Every layer's activations in evaluation, ``[images, …]`` on the CPU."""
    recorder = Recorder()
    network.eval()
    for inputs_TBN in calibration.analogue_batches():
        recorder.next_batch()
        network(inputs_TBN, observers=[recorder])
    return recorder.sums()


@torch.no_grad()
def spike_counts(
    network: Network, calibration: CalibrationSet, time_steps: int, *layers: str, until: str | None = None
) -> dict[str, Tensor]:
    """Every layer's (or these layers') spikes over all time steps, ``[images, …]`` on the CPU."""
    recorder = Recorder(*layers)
    network.eval()
    for inputs in calibration.spiking_batches():
        recorder.next_batch()
        for _ in network.simulate(inputs, time_steps, [recorder], until=until, num_micro_batches=calibration.num_micro_batches):
            pass
    return recorder.sums()
