"""The README is true: its links lead somewhere, its commands work, its study loads."""

import csv
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from studies.cli import app
from tests.conftest import SPIKESWEEP

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.strip().splitlines()]
RUN_COMMAND, TEST_COMMAND = (command for command in COMMANDS if command.startswith("python3 -m venv"))


def test_links_lead_somewhere() -> None:
    """Every relative link and every folder named exists, in all documents."""
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), (document, target)
    for folder in re.findall(r"^(\w+)/ ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir()


@pytest.mark.parametrize(("seeds", "epochs"), [(2, 2), pytest.param(8, 20, marks=pytest.mark.slow)])
def test_commands_work(seeds: int, epochs: int, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's own study, and one that is shorter, under the README's own commands, in its order (`ui` has no end, and is
    left out)."""
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert (yaml.safe_load(example)["seeds"], yaml.safe_load(example)["config"]["epochs"]) == (8, 20)
    example = example.replace("seeds: 8", f"seeds: {seeds}").replace("epochs: 20", f"epochs: {epochs}")
    (tmp_path / "my_study.yaml").write_text(example)
    shutil.copy(tiny_npz, tmp_path / "my_images.npz")
    monkeypatch.chdir(tmp_path)
    commands = [command.split()[1:] for command in COMMANDS if command.startswith("spikesweep ")]
    assert len(commands) == 7
    for command in commands:
        if command[0] == "ui":
            continue
        if command[0] == "run":
            result = subprocess.run([*SPIKESWEEP, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
            assert result.returncode == 0, (command, result.stdout, result.stderr)
            continue
        shown = CliRunner().invoke(app, command)  # here: another process would import everything anew
        assert shown.exit_code == 0, (command, shown.output)
        assert command[0] != "status" or f"{4 * seeds} complete" in shown.stdout
    assert (tmp_path / "results/reports/my_study/summary.html").exists()


def test_it_is_short() -> None:
    """A person reads it in a few minutes: at most 900 words outside code blocks."""
    prose = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    assert len(prose.split()) <= 900


def test_its_numbers_are_the_reports() -> None:
    """The table is that of the quickstart's report whose figure is shown, to the last digit, and the sentence below quotes it."""
    with (ROOT / "docs/figures/quickstart_effects.csv").open() as file:
        effects = {(row["factor"], row["level"]): row for row in csv.DictReader(file) if row["outcome"] == "val/accuracy"}
    (table,) = (block for block in re.findall(r"```text\n(.*?)```", README, re.DOTALL) if "verdict" in block)
    factor, shown = "", 0
    assert table.split()[:12] == ["Validation", "accuracy", *"level seeds mean % difference, points (95 %) Holm p".split()]
    for line in table.splitlines()[2:]:
        if not line.startswith(" "):
            factor = line.strip()
            continue
        level, seeds, mean, *rest = line.split()
        effect = effects[factor, level]
        assert (seeds, mean, rest[-1]) == (effect["num_finished"], f"{100 * float(effect['mean']):.2f}", effect["verdict"])
        if rest[-1] != "baseline":
            difference, low, high = (
                f"{100 * float(effect[name]):+.2f}" for name in ("difference", "difference_low", "difference_high")
            )
            assert rest[:-1] == [difference, f"({low}", "to", f"{high})", f"{float(effect['corrected_p']):.3f}"]
        shown += 1
    assert shown == 7
    assert f"costs {-100 * float(effects['time_steps', '2']['difference']):.2f} points" in README
    least = effects["feature_scale", "0.0625"]
    size, *bounds = (f"{-100 * float(least[name]):.2f}" for name in ("difference", "difference_high", "difference_low"))
    assert f"lowers it by {size} points (95 % {' to '.join(bounds)})." in README
    cells = 1 + sum(effect["is_baseline"] == "False" for effect in effects.values())
    assert f"trains {cells * int(effects['time_steps', '4']['num_planned'])} small BITnets" in README


def test_ci_takes_its_command() -> None:
    """.ci/run runs the first line that ends in /pytest, and that is the test command."""
    assert "grep -m 1 '/pytest$' README.md" in (ROOT / ".ci/run").read_text()
    assert next(line for line in README.splitlines() if line.endswith("/pytest")) == TEST_COMMAND


def test_the_version_is_cited() -> None:
    """CITATION.cff has the package's version and its authors."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert str(citation["version"]) == project["version"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
    assert citation["license"] == project["license"]
    assert {"message", "title", "type"} <= citation.keys()
    assert ("date-released" in citation) is ("(unreleased)" not in (ROOT / "CHANGELOG.md").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("order", [(RUN_COMMAND, TEST_COMMAND), (TEST_COMMAND, RUN_COMMAND, RUN_COMMAND)])
def test_fresh_clone(order: tuple[str, ...], tmp_path: Path) -> None:
    """Both commands work from a fresh clone, in either order, and again."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    for command in order:
        result = subprocess.run(["bash", "-c", command], cwd=clone, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "difference, points (95 %)" in result.stdout or " passed" in result.stdout
