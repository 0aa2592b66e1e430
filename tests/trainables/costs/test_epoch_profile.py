"""The profile of an epoch, in its smallest form."""

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks import epoch_profile
from trainables import ann

pytestmark = pytest.mark.slow  # the first dispatch mode of a process imports PyTorch's compiler
SMALL = ann.Config(
    data="digits", layout="4 M 4", batch_norm=True, activation="qcfs", num_train_images=64, batch_size=32, epochs=1000
)


@pytest.fixture(autouse=True)
def _data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_profile, "default_data_folder", lambda: data_folder)


def test_parts_of_a_step_and_multiplications_by_hand() -> None:
    """Every part is found in both precisions, together they are a step, and multiplications are those of the layout."""
    found = epoch_profile.measured(SMALL, turns=1)
    for each in found.values():
        best = each.best()
        assert best.keys() == set(epoch_profile.PARTS)
        assert min(seconds for part, seconds in best.items() if part != epoch_profile.REST) > 0
        assert sum(best.values()) >= min(each.step)
        forward = 64 * 9 * 4 + 16 * 9 * 4 * 4 + 4 * 16 * 10
        assert each.forward == 32 * forward
        assert each.backward == 32 * (2 * forward - 64 * 9 * 4)  # no gradient for the images
        assert each.num_steps == 2
        assert each.peak[0] > 0
        assert each.validation[0] > 0


def test_the_page_has_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool writes its block of a page, and the last line is JSON."""
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- epoch_profile -->\n<!-- /epoch_profile -->\nafter\n")
    monkeypatch.setattr(epoch_profile, "CONFIG", SMALL)
    monkeypatch.setattr(epoch_profile, "VARIANTS", {"as above": {}})
    monkeypatch.setattr(epoch_profile, "PEAK_SIDE", 64)
    monkeypatch.setattr(epoch_profile, "start", lambda: (1.0, 2.0))
    monkeypatch.setattr(sys, "argv", ["epoch_profile", "--short", "--page", str(page), "--json"])
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    epoch_profile.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["start"] == {"imports": 1.0, "first_step": 2.0}
    written = page.read_text()
    assert "| batch norms |" in written
    assert written.startswith("before\n<!-- epoch_profile -->\n\n`24 48 M")
    assert written.endswith("<!-- /epoch_profile -->\nafter\n")
