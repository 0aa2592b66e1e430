"""How much a study will store of every replicate: its weights, and which images it has judged right."""

from dataclasses import dataclass

from studies.commands.checking.forecast import num_planned, probed_cells
from studies.engine.binding.configurations import Configuration
from studies.engine.definition.study import Study
from trainables.data.datasets import NO_IMAGES, num_validation_images
from trainables.training.epochs.correct_images import num_characters

BYTES_PER_PARAMETER = 4
PLACES = 2
"""Each is there twice: beside the replicate's reports and in MLflow."""


@dataclass(frozen=True)
class StoredSize:
    """Bytes of all replicates together; those of a search by the mean of random configurations.

    Attributes:
        weights: Of the trained networks; 0 where models are not logged.
        correct_images: Of the bits that say which validation and test images were judged right.
    """

    weights: int
    correct_images: int


def stored_size(study: Study) -> StoredSize:
    """What a study will store, beside metrics and the report."""
    configurations = [study.binder.configuration(cell) for cell in probed_cells(study)[0]]
    share = PLACES * num_planned(study) / max(1, len(configurations))
    parameters = sum(each.footprint.num_parameters for each in configurations) if study.content.log_models else 0
    return StoredSize(round(share * BYTES_PER_PARAMETER * parameters), round(share * sum(map(_characters, configurations))))


def _characters(configuration: Configuration) -> int:
    dataset = configuration.dataset
    if dataset.name == NO_IMAGES:
        return 0
    num_validation = num_validation_images(len(dataset.train_labels), configuration.config.validation_fraction)
    return num_characters(num_validation) + num_characters(len(dataset.test_labels))


def size_in_words(size: StoredSize) -> str:
    """E.g. ``stored, half of it in MLflow: weights, 12.3 MiB; for each image whether it was judged right, 0.2 MiB``."""
    parts = [f"weights, {_mib(size.weights)}"] if size.weights else []
    parts += [f"for each image whether it was judged right, {_mib(size.correct_images)}"] if size.correct_images else []
    return f"stored, half of it in MLflow: {'; '.join(parts)}" if parts else ""


def _mib(num_bytes: int) -> str:
    mib = num_bytes / 2**20
    return f"{mib:,.1f} MiB" if mib >= 0.1 else "less than 0.1 MiB"
