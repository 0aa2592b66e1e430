"""The parts of a replicate run in MLflow: tags, params, metrics, the data set, the description."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from studies import run_record
from studies.credentials import has_credentials
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.study import Study
from studies.engine.recording.study_record import code_tags
from studies.plain_text import in_markdown
from trainables.data.datasets import NO_IMAGES
from trainables.data.npz_files import Array

DESCRIPTION = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
"""The tag of a replicate's run that names the study's own."""
LEADING = (run_record.ACCURACY, run_record.SPARSITY, run_record.TEST_ACCURACY)
"""The metrics that MLflow's page of a run shows first."""
LONGEST_DIGEST = 36
"""The characters that MLflow keeps of a data set's digest."""


def tags_of(study: Study, replicate: Replicate, study_run: str, experiment_id: str) -> dict[str, str]:
    """The tags that are known before a replicate is trained, among them its description."""
    return {
        run_record.KIND: run_record.KIND_REPLICATE,
        run_record.STUDY: study.stores.name,
        run_record.TRAINABLE: replicate.trainable,
        run_record.IDENTITY: replicate.identity,
        run_record.ROLE: replicate.role,
        run_record.LEVELS: json.dumps(replicate.cell),
        run_record.SEED: str(replicate.seed),
        run_record.CONFIG: json.dumps(replicate.config),
        run_record.DATA_DIGEST: replicate.data_digest,
        PARENT: study_run,
        DESCRIPTION: _description(study, replicate, f"#/experiments/{experiment_id}/runs/{study_run}"),
        **({run_record.SOURCE_NETWORK: replicate.source_network.identity} if replicate.source_network else {}),
        **({run_record.TUNED: json.dumps(replicate.tuned)} if replicate.tuned else {}),
        **code_tags(study),
    }


def _description(study: Study, replicate: Replicate, link: str) -> str:
    roles = {
        "cell": "",
        "search": "a trial of the search",
        "finalist": "a finalist's other seed",
        "tuning": "a trial of the tuning",
    }
    what = ", ".join(part for part in (f"**{in_markdown(replicate.title)}**", roles[replicate.role]) if part)
    uri = study.stores.tracking_uri
    command = f"spikesweep reproduce {replicate.identity}"
    store = f" --tracking-uri '{uri}'" if not has_credentials(uri) else ""  # else its user has the password
    with_store = "" if store else ", with `MLFLOW_TRACKING_URI` naming this store"
    return (
        f"{what}, of the study [{study.stores.name}]({link}): {in_markdown(study.question)}\n\n"
        f"To train exactly this replicate again, and see whether the numbers agree{with_store}:\n\n```\n{command}{store}\n```"
    )


def params_of(study: Study, replicate: Replicate) -> list[Param]:
    """The active fields of the config, as a study file would have them, the seed, and the number of parameters."""
    configuration = study.binder.configuration(replicate.cell, replicate.tuned)
    inactive = configuration.config.inactive_fields()
    params = {name: value for name, value in replicate.config.items() if name not in inactive}
    params |= {"seed": replicate.seed, "num_parameters": configuration.footprint.num_parameters}
    return [Param(name, value if isinstance(value, str) else json.dumps(value)) for name, value in params.items()]


def metrics_of(report: Mapping[str, Any]) -> list[Metric]:
    """The metrics of one epoch's report. The last epoch's also has the curves, whose step is t."""
    epoch, timestamp = report["epoch"], report["timestamp_ms"]
    ordered = sorted(report["metrics"], key=lambda name: LEADING.index(name) if name in LEADING else len(LEADING))
    metrics = [Metric(name, report["metrics"][name], timestamp, epoch) for name in ordered]
    if epoch == report["num_epochs"]:
        curves = report["curves"].items()
        metrics += [Metric(name, value, timestamp, t) for name, curve in curves for t, value in enumerate(curve, 1)]
    # last, because MLflow splits lists of more than 1,000: a run that has this one has all of the epoch
    return [*metrics, Metric("epoch", epoch, timestamp, epoch)]


def final_tags(replicate: Replicate, final: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> list[RunTag]:
    """Tags of the last report: its facts, its curve of accuracy, and which images were judged right if the replicate is one of
    those that are compared. Until there is one, the facts of the first report.
    """
    report = final or first
    tags = {run_record.FACT + name: text for name, text in report["facts"].items()} if report else {}
    curve = json.dumps(final["curves"].get(run_record.ACCURACY_AT_T, [])) if final else ""
    if 2 < len(curve) <= run_record.LONGEST_TAG:
        tags[run_record.CURVE] = curve
    if final and replicate.role in run_record.COMPARED_ROLES:
        tags |= run_record.correct_tags(final["correct"])
    return [RunTag(name, text) for name, text in tags.items()]


def dataset_input(study: Study, replicate: Replicate) -> DatasetInput | None:
    """The data set as MLflow shows it; None for a trainable without images."""
    if replicate.dataset == NO_IMAGES:
        return None
    dataset = study.binder.configuration(replicate.cell, replicate.tuned).dataset
    images, labels = dataset.train_images, dataset.train_labels
    source = (
        {"uri": replicate.dataset} if replicate.dataset.endswith(".npz") else {"tags": {"mlflow.source.name": replicate.dataset}}
    )
    shown = Dataset(
        name=Path(replicate.dataset).stem,
        digest=dataset.digest[:LONGEST_DIGEST],
        source_type="local" if "uri" in source else "code",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_tensorspec": {"features": _tensor(images), "targets": _tensor(labels)}}),
        profile=json.dumps(
            {
                "num_train_and_validation_images": len(images),
                "num_test_images": len(dataset.test_images),
                "num_classes": dataset.num_classes,
                "sha256": dataset.digest,
            }
        ),
    )
    return DatasetInput(shown, [InputTag("mlflow.data.context", "training, validation, test")])


def _tensor(array: Array) -> str:
    spec = {"dtype": str(array.dtype), "shape": [-1, *array.shape[1:]]}
    return json.dumps([{"type": "tensor", "tensor-spec": spec}])
