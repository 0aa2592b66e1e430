"""``check`` and ``run`` warn where a study asks for bfloat16 and the CPU would emulate it."""

from collections.abc import Mapping

import pytest
import torch

from studies.commands.checking.check_page import as_data
from studies.commands.checking.processor import processor_warnings
from studies.engine.definition.loading import load_study
from studies.engine.proposing.adaptive_search import WarmStart

WITH, WITHOUT = {"avx512_bf16": True}, {"avx2": True}
PRETRAINED = ["config.pretrain_epochs=1", "config.pretrain_precision=bfloat16"]
CONVERTED = ["config.precision=bfloat16", "config.finetune_precision=bfloat16"]


@pytest.mark.parametrize(
    ("known", "study", "overrides", "named"),
    [
        (WITHOUT, "quickstart", ["config.precision=bfloat16"], ["precision"]),
        (WITHOUT, "quickstart", PRETRAINED, ["pretrain_precision"]),
        (WITHOUT, "quickstart", PRETRAINED[1:], []),
        (WITHOUT, "quickstart", [], []),
        (WITHOUT, "converted_digits", CONVERTED, ["precision"]),
        (WITH, "quickstart", ["config.precision=bfloat16"], []),
        (WITHOUT, "quickstart", ["config.precision=bfloat16", "resources.gpus=1"], []),
    ],
)
def test_emulation_is_warned_of(
    known: Mapping[str, bool], study: str, overrides: list[str], named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each field that asks for it is named once, with the repair; none that does nothing, nor on a CPU that has it or a GPU."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    said = processor_warnings(load_study(study, overrides))
    assert [warning.partition(":")[0] for warning in said] == named
    for warning, field in zip(said, named, strict=True):
        assert warning.startswith(f"{field}: bfloat16 is emulated by this machine's CPU, which has none of amx_bf16, avx512_bf16")
        assert f"Write {field}: float32" in warning


def test_check_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning is among those of ``check --json``, and of its page."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: WITHOUT)
    data = as_data(load_study("quickstart", ["config.precision=bfloat16"]), None, WarmStart())
    assert any(warning.startswith("precision: bfloat16 is emulated") for warning in data["warnings"])
