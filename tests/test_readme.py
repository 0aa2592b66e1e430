"""The README is true: its links lead somewhere, its commands work, its study loads."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import SPIKESWEEP

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.strip().splitlines()]
RUN_COMMAND, TEST_COMMAND = (command for command in COMMANDS if command.startswith("python3 -m venv"))


def test_links_lead_somewhere() -> None:
    """Every relative link and every folder named exists, in all documents."""
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), (document, target)
    for folder in re.findall(r"^(\w+)/ ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_commands_work(tiny_npz: Path, tmp_path: Path) -> None:
    """The README's own study, under the README's own commands, in the README's order (`ui` has no end, and is left out)."""
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_study.yaml").write_text(example)
    shutil.copy(tiny_npz, tmp_path / "my_images.npz")
    assert yaml.safe_load(example)["seeds"] == 8
    commands = [command.split()[1:] for command in COMMANDS if command.startswith("spikesweep ")]
    assert len(commands) == 7
    for command in commands:
        if command[0] == "ui":
            continue
        result = subprocess.run([*SPIKESWEEP, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (command, result.stdout, result.stderr)
        assert command[0] != "status" or "32 complete" in result.stdout
    assert (tmp_path / "results/reports/my_study/summary.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("order", [(RUN_COMMAND, TEST_COMMAND), (TEST_COMMAND, RUN_COMMAND, RUN_COMMAND)])
def test_fresh_clone(order: tuple[str, ...], tmp_path: Path) -> None:
    """Both commands work from a fresh clone, in either order, and again."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    for command in order:
        result = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "from baseline (95 %)" in result.stdout or " passed" in result.stdout
