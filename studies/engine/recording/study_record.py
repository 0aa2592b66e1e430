"""What MLflow gets of a study: its record, a description in words, and the code that ran."""

import dataclasses
import getpass
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.language.space import Levels, Range, Space
from studies import run_record
from studies.engine.binding.replicates import Replicate
from studies.engine.definition.locations import shipped_studies
from studies.engine.definition.study import Study, domain_in_words
from studies.engine.recording import environment
from studies.plain_text import as_code, in_markdown
from studies.run_record import PlannedReplicate, StudyRecord, levels_in_words


def code_tags(study: Study) -> dict[str, str]:
    """What ran: package versions, the command, the commit."""
    return {
        run_record.VERSIONS: json.dumps(environment.versions()),
        "mlflow.source.name": command(study),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
        "mlflow.source.git.commit": environment.git_commit(),
    }


def study_record(
    study: Study, planned: Sequence[Replicate], notes: Sequence[str], not_counted: Sequence[str] = ()
) -> StudyRecord:
    """The record of what a study asks for: the replicates so far (``planned``), and ``notes``, which are sentences on them.

    ``not_counted`` are the identities of trials of earlier versions of the study's file that do not count.
    """
    levels = {factor.name: factor.domain for factor in study.space.factors}
    options = study.content.design.model_dump(exclude={"name"})
    if study.search:
        options |= {"sampler": study.search.sampler, "pruner": study.search.pruner}
    return StudyRecord(
        name=study.stores.name,
        question=study.question,
        trainable=", ".join(study.trainables),
        design=study.design,
        options=options,
        notes=[*study.notes, *notes],
        objectives=study.objectives,
        baseline=study.baseline,
        factors={name: domain.values if isinstance(domain, Levels) else () for name, domain in levels.items()},
        ranges={f.name: domain_in_words(f) for f in study.space.factors if isinstance(f.domain, Range)},
        bounds=_bounds(study.space),
        conditions={factor.name: factor.when for factor in study.space.factors if factor.when},
        references=study.references,
        tuning=_tuning_record(study),
        tuning_bounds=_bounds(study.tuning.space) if study.tuning else {},
        constraints=study.content.constraints,
        labels=study.labels,
        not_counted=not_counted,
        data=study.data_digests,
        seeds=study.seeds,
        replicates=[*(PlannedReplicate(r.identity, r.seed, r.cell, r.role, r.tuned) for r in planned), *_to_come(study, planned)],
    )


def _bounds(space: Space) -> dict[str, dict[str, Any]]:
    """Of factors that are ranges."""
    return {factor.name: dataclasses.asdict(factor.domain) for factor in space.factors if isinstance(factor.domain, Range)}


def _to_come(study: Study, planned: Sequence[Replicate]) -> list[PlannedReplicate]:
    """The cells of a study that is still tuning; their identities are not known yet."""
    if not study.tuning or any(replicate.role == "cell" for replicate in planned):
        return []
    return [PlannedReplicate("", seed, cell) for seed in study.seeds for cell in study.cells]


def _tuning_record(study: Study) -> dict[str, Any]:
    plan = study.tuning
    if plan is None:
        return {}
    parameters = {factor.name: domain_in_words(factor) for factor in plan.space.factors}
    return {"parameters": parameters, "num_trials": plan.num_trials, "sampler": plan.sampler, "seed": plan.seed}


def design_in_words(study: Study) -> str:
    """E.g. ``one factor at a time; 8 cells × 10 seeds``."""
    size = f"{len(study.cells)} cells × {len(study.seeds)} seeds" if study.cells else f"{len(study.seeds)} seeds"
    if study.search:
        size = f"{study.search.num_trials} trials by {study.search.sampler['name']}, {size}"
    return f"{study.design.replace('_', ' ')}; {size}"


def study_description(study: Study, status: str, links: Mapping[str, str], findings: str) -> str:
    """What a person reads on top of the study's page in MLflow, as Markdown.

    Args:
        study: What is asked.
        status: How far it is, in words.
        links: Addresses of other pages, by their names.
        findings: What is known of the answer, as Markdown; what is beyond the longest tag of MLflow is cut off.
    """
    lines = {"Design": design_in_words(study)}
    if study.baseline:
        lines["Baseline"] = levels_in_words(study.space.active(study.baseline))
    lines |= {factor.name: domain_in_words(factor) for factor in study.space.factors}
    lines["Data"] = "; ".join(f"{Path(name).stem} ({data.digest[:8]})" for name, data in study.binder.datasets.items())
    lines["Objectives"] = ", ".join(study.objectives)
    lines["Warnings"] = " ".join(study.warnings)
    lines = {in_markdown(name): in_markdown(words) for name, words in lines.items() if words}
    lines["Command"] = as_code(command(study)).replace("|", "\\|")
    table = "\n".join(f"| {name} | {words} |" for name, words in lines.items())
    where = " · ".join(f"[{in_markdown(name)}]({address})" for name, address in links.items())
    first, _, others = findings.partition("\n\n")
    head = [f"**{in_markdown(study.question)}**", f"**Status** {status}", first]  # what MLflow shows unless one asks for more
    asked = f"### What was asked\n\n| | |\n|---|---|\n{table}\n"
    text = "\n\n".join(part for part in (*head, where) if part)
    room = run_record.LONGEST_TAG - len(text) - len(asked) - 4
    found = others if len(others) <= room else others[:room].rpartition("\n")[0]
    return "\n\n".join(part for part in (text, found, asked) if part)


def command(study: Study) -> str:
    """What runs the study, or the rest of it."""
    file = Path(study.file)
    return f"spikesweep run {file.stem if shipped_studies().get(file.stem) == file else file}"
