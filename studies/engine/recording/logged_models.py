"""Trained networks as MLflow models, among the artifacts of their runs; MLflow's own commands load and serve them.

A model holds the weights, what ``trainables.training.serving`` needs beside them, and the code as one file, so that it can be
served where spikesweep is not installed. MLflow's ``log_model`` is not used, because it loads every model again to guess its
requirements, and keeps the model apart from its run, so that it would not move to another store with its run.
"""

import io
import json
import platform
import zipfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import yaml
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import trainables
from studies import run_record
from studies.engine.binding.replicates import Replicate
from studies.engine.binding.trainable_modules import load_trainable
from studies.engine.definition.study import Study
from studies.engine.recording.mlflow_ui_internals import MODEL_HISTORY
from studies.process_folders import temporary_folder
from trainables.data.datasets import Dataset
from trainables.data.normalisation import Normalisation
from trainables.training import serving
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.files import inside
from trainables.training.loop import resolve_device, splits_of
from trainables.training.recipe import Recipe

PACKAGES = ("mlflow", "torch", "numpy")
"""The packages that are needed to load and run a network."""
DESCRIPTION = "MLmodel"
CODE = "code/trainables.zip"
DATA = "data"
REQUIREMENTS, ENVIRONMENT = "requirements.txt", "python_env.yaml"
EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
A_DATE = (1980, 1, 1, 0, 0, 0)


class Models:
    """Logs the models of a study's finished replicates. A model that is logged again replaces itself."""

    def __init__(self, client: MlflowClient, study: Study) -> None:
        self._client, self._study = client, study
        self._normalisations: dict[tuple[Any, ...], Normalisation] = {}
        self._code = b""

    def log(self, run_id: str, replicate: Replicate) -> list[RunTag]:
        """Log the trained network of a replicate to its run, if the study logs models and the trainable has a network.

        Returns:
            Tags for the run: that it has a model, or why it has none.
        """
        if not self._study.content.log_models or not has_network(replicate.trainable):
            return []
        weights = CheckpointFolder(inside(self._study.stores.checkpoints, replicate.identity)).kept_weights()
        if weights is None:
            return [RunTag(run_record.NO_MODEL, "the replicate's weights were not kept, or are gone")]
        dataset = self._study.binder.configuration(replicate.cell, replicate.tuned).dataset
        trained = serving.describe(
            replicate.trainable, replicate.recipe, replicate.seed, dataset.image_shape, dataset.num_classes
        )
        with temporary_folder("model") as path:
            serving.store(path / DATA, trained, weights, self._normalisation(replicate.recipe, dataset))
            (path / CODE).parent.mkdir()
            (path / CODE).write_bytes(self._zipped_code())
            _describe(path, trained, dataset, run_id, replicate)
            self._client.log_artifacts(run_id, str(path), run_record.MODEL_ARTIFACTS)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        flavors: dict[str, Any] = {mlflow.pyfunc.FLAVOR_NAME: {}, replicate.trainable: {}}  # the UI shows the second one's name
        history = {"artifact_path": run_record.MODEL_ARTIFACTS, "run_id": run_id, "utc_time_created": now, "flavors": flavors}
        return [RunTag(MODEL_HISTORY, json.dumps([history]))]

    def _normalisation(self, recipe: Recipe, dataset: Dataset) -> Normalisation:
        """The normalisation that the replicate was trained with; most replicates of a study share it."""
        names = ("validation_fraction", "split_seed", "num_train_images", "image_downscale", "mean_per_pixel")
        key = (dataset.digest, *(getattr(recipe, name) for name in names))
        if key not in self._normalisations:
            splits = splits_of(recipe, dataset, resolve_device("cpu"))
            self._normalisations[key] = Normalisation(splits.mean, splits.std)
        return self._normalisations[key]

    def _zipped_code(self) -> bytes:
        """The package ``trainables`` as one zip file, from which Python can import: one request instead of forty."""
        if not self._code:
            stored = io.BytesIO()
            folder = Path(trainables.__path__[0])
            with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(folder.rglob("*.py")):
                    name = zipfile.ZipInfo(str(file.relative_to(folder.parent)), A_DATE)
                    archive.writestr(name, file.read_bytes(), zipfile.ZIP_DEFLATED)
            self._code = stored.getvalue()
        return self._code


def has_network(trainable: str) -> bool:
    """Whether a trainable trains a network at all."""
    return hasattr(load_trainable(trainable), "task_of")


def _describe(path: Path, trained: serving.Trained, dataset: Dataset, run_id: str, replicate: Replicate) -> None:
    """Write the model's description for MLflow: signature, requirements, how to load it, and an example image."""
    example = {serving.IMAGES: np.asarray(dataset.test_images[:1]).tolist()}
    (path / EXAMPLE).write_text(json.dumps(example))
    (path / SERVING_EXAMPLE).write_text(json.dumps({"inputs": example}))
    packages = [f"{package}=={version(package).partition('+')[0]}" for package in PACKAGES]  # +cpu is another index's
    (path / REQUIREMENTS).write_text("\n".join(packages) + "\n")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": ["pip"],
        "dependencies": [f"-r {REQUIREMENTS}"],
    }
    (path / ENVIRONMENT).write_text(yaml.safe_dump(environment, sort_keys=False))
    model = Model(
        artifact_path=run_record.MODEL_ARTIFACTS,
        run_id=run_id,
        model_uuid=replicate.identity,
        signature=_signature(trained),
        saved_input_example_info={
            "artifact_path": EXAMPLE,
            "serving_input_path": SERVING_EXAMPLE,
            "type": "ndarray",
            "format": "tf-serving",
        },
        metadata={
            run_record.IDENTITY: replicate.identity,
            run_record.DATA_DIGEST: dataset.digest,
            **({run_record.FACT + run_record.SELECTION: run_record.SELECTED_ON_TEST} if replicate.recipe.selects_on_test else {}),
        },
    )
    mlflow.pyfunc.add_to_model(model, loader_module=serving.__name__, data=DATA, code=CODE, python_env=ENVIRONMENT)
    model.save(str(path / DESCRIPTION))


def _signature(trained: serving.Trained) -> ModelSignature:
    """Input: uint8 images as in the data set. Output: class scores. Parameters: those that the network uses, as time steps."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *trained.image_shape), serving.IMAGES)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, trained.num_classes))]),
        params=ParamSchema([ParamSpec(name, "long", value) for name, value in trained.default_params().items()]),
    )
