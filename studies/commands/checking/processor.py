"""What the processor of this machine cannot do that a study asks for."""

from collections.abc import Iterator
from typing import Any

import torch

from studies.commands.checking.forecast import probed_cells
from studies.engine.definition.study import Study
from studies.engine.execution.resource_requests import runs_on_gpu
from trainables.networks.precision import BFLOAT16_INSTRUCTIONS, bfloat16_instructions

PRECISIONS = ("precision", "pretrain_precision", "finetune_precision")
"""The fields that say in which floating-point type a network is computed."""


def processor_warnings(study: Study) -> list[str]:
    """Says which fields ask for bfloat16 on a CPU that has no instructions for it; nothing where it has, or a GPU trains."""
    if bfloat16_instructions() or runs_on_gpu(study.resources, has_gpu=torch.cuda.is_available()):
        return []
    cells, _ = probed_cells(study)
    asked = dict.fromkeys(name for cell in cells for name in _in_bfloat16(study.binder.configuration(cell).config))
    return [
        f"{name}: bfloat16 is emulated by this machine's CPU, which has none of {', '.join(BFLOAT16_INSTRUCTIONS)}: results are "
        f"right, and take longer than in float32. Write {name}: float32, or train on a CPU that has one of them"
        for name in asked
    ]


def _in_bfloat16(config: Any) -> Iterator[str]:
    inactive = config.inactive_fields()
    return (name for name in PRECISIONS if getattr(config, name, None) == "bfloat16" and name not in inactive)
