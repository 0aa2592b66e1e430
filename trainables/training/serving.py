"""A trained network outside of training: from images as they are in the data set to class scores.

A folder holds all that it needs: ``network.json`` (which trainable with which config, as plain data) and ``weights.pt`` (tensors
alone: loaded weights-only, nothing is unpickled). ``_load_pyfunc`` is what MLflow asks of a module that loads its models; MLflow
itself is not needed.
"""

import dataclasses
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.normalisation import Normalisation, downscale
from trainables.networks.layouts import ImageShape
from trainables.networks.network import Network
from trainables.networks.precision import simulate_torch
from trainables.networks.readout import Readout, Tally
from trainables.networks.rewriting import folded
from trainables.training.configs import values_of_record
from trainables.training.epochs.judging import EVALUATION_BATCH_SIZE, encode
from trainables.training.loop import resolve_device
from trainables.training.recipe import Recipe
from trainables.training.task import Task

NETWORK = "network.json"
WEIGHTS = "weights.pt"
IMAGES = "images"
TIME_STEPS, SEED = "time_steps", "seed"
PURPOSE = "test"
"""Of random inputs: they are those of the test images, where it is these that are shown, in their order."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Which network was trained, and on images of which shape (height, width, channels)."""

    trainable: str
    config: Mapping[str, Any]
    """All fields of the trainable's config, by name."""
    seed: int
    image_shape: ImageShape
    num_classes: int

    def task(self) -> Task:
        """How the network is built and run: what the trainable passes to ``training.loop.fit``.

        Raises:
            ValueError: The config is not one of this version's.
        """
        module = importlib.import_module(f"trainables.{self.trainable}")
        try:
            config = module.Config(**values_of_record(module.Config, self.config))
        except TypeError as error:
            raise ValueError(
                f"a model must be loaded by the code that it came with; another version of trainables is imported already "
                f"({error}): load it in a process of its own"
            ) from None
        task: Task = module.task_of(config, tuple(self.image_shape), self.num_classes, self.seed)
        return task

    def default_params(self) -> dict[str, int]:
        """What ``predict`` takes beside images, as training has it: T of a spiking network, the seed of random inputs."""
        params = {TIME_STEPS: self.task().eval_time_steps} if "time_steps" in self.config else {}
        return params | ({SEED: self.seed} if self.task().encoding == "poisson" else {})


class Classifier:
    """A trained network, as it was judged: the same scores to the bit, on the same kind of device, batch by batch."""

    def __init__(self, trained: Trained, weights: Mapping[str, Tensor], normalisation: Normalisation) -> None:
        self._trained, self._task = trained, trained.task()
        self._device = resolve_device("auto")
        self._downscale: int = trained.config["image_downscale"]
        self._normalisation = Normalisation(normalisation.mean.to(self._device), normalisation.std.to(self._device))
        network = self._task.build().to(self._device)
        network.load_state_dict(weights)
        self._network: Network = folded(network).eval()

    def predict(self, images: Any, params: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Class scores ``[B, classes]``, the largest of which is the class: the spike counts of all time steps, or the summed
        outputs of a network whose output layer does not spike. Where the membrane potential breaks ties of spike counts, a part
        of a spike is added to them: see ``Readout.scores``.

        Args:
            images: uint8 ``[B, height, width, channels]`` as in the data set, or a mapping with those as ``images``.
            params: ``time_steps`` to show each image for, and ``seed`` of random inputs; those of the config unless given. The
                random inputs of an image depend on its place in ``images`` too.

        Raises:
            ValueError: The images, or the parameters, are not such.
        """
        images_BHWC = np.asarray(images[IMAGES] if isinstance(images, Mapping) else images)
        expected = tuple(self._trained.image_shape)
        if images_BHWC.dtype != np.uint8 or images_BHWC.shape[1:] != expected or len(images_BHWC) < 1:
            rule = f"images must be uint8 [B, {', '.join(map(str, expected))}], B at least 1"
            raise ValueError(f"{rule}; got {images_BHWC.dtype} {list(images_BHWC.shape)}")
        params = params or {}
        time_steps = self._task.eval_time_steps if (given := params.get(TIME_STEPS)) is None else given
        seed = self._task.seed if (given := params.get(SEED)) is None else given
        if time_steps < 1:
            raise ValueError(f"time_steps must be at least 1; got {time_steps}")
        images_BCHW = torch.from_numpy(np.ascontiguousarray(images_BHWC)).permute(0, 3, 1, 2)
        parts = (torch.split(whole, EVALUATION_BATCH_SIZE) for whole in (images_BCHW, torch.arange(len(images_BCHW))))
        scores = [self._scores(batch_BCHW, indices_B, time_steps, seed) for batch_BCHW, indices_B in zip(*parts, strict=True)]
        return torch.cat(scores).numpy()

    @torch.no_grad()
    def _scores(self, images_BCHW: Tensor, indices_B: Tensor, time_steps: int, seed: int) -> Tensor:
        images_BCHW = downscale(images_BCHW.to(self._device), self._downscale)
        inputs = encode(self._task.encoding, self._normalisation, images_BCHW, indices_B, seed, PURPOSE)
        readout = Readout(self._network, self._task.ties)
        tally = Tally(readout)  # as ``evaluate`` adds them up
        for drive_TBK in simulate_torch(self._network, inputs, time_steps, until=readout.until, precision=self._task.precision):
            tally.add(drive_TBK)
        return tally.scores().cpu()


def describe(trainable: str, config: Recipe, seed: int, image_shape: ImageShape, num_classes: int) -> Trained:
    """What has to be known of a trained network beside its numbers; it may run on another device than the config's."""
    fields = dataclasses.asdict(config) | {"device": "auto"}
    return Trained(trainable=trainable, config=fields, seed=seed, image_shape=image_shape, num_classes=num_classes)


def store(folder: Path, trained: Trained, weights: Mapping[str, Tensor], normalisation: Normalisation) -> None:
    """Write a folder that ``_load_pyfunc`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK).write_text(json.dumps(dataclasses.asdict(trained), indent=1))
    content = {"network": dict(weights), "mean": normalisation.mean.cpu(), "std": normalisation.std.cpu()}
    torch.save(content, folder / WEIGHTS)


def _load_pyfunc(path: str) -> Classifier:
    """The classifier in a folder; the name is MLflow's."""
    folder = Path(path)
    trained = Trained(**json.loads((folder / NETWORK).read_text()))
    content = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    return Classifier(trained, content["network"], Normalisation(content["mean"], content["std"]))
