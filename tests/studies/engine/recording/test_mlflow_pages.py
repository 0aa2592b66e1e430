"""What a colleague sees in MLflow's UI of a finished study: a real study, a real server, a real browser.

Addresses, names and values are those that the store has; what is asserted is what can be read on the page.
"""

import fcntl
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Browser, Page

from studies import run_record
from studies.run_record import StudyRecord, level_in_words
from tests.conftest import SPIKESWEEP
from tests.studies.engine.recording.browser import CHROMIUMS, chromium, drawn, headless_browser, new_page, shoot, wait_for_texts
from tests.studies.servers import free_port, mlflow_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium(), reason=f"needs a Chromium: none of {', '.join(CHROMIUMS)} is on the path"),
]
QUESTION = "Do more time steps help a small network?"
SMALL = f"""\
question: {QUESTION}
trainable: bitnet
config: {{data: digits, num_train_images: 256, epochs: 2, batch_size: 32, layout: 64 M 64}}
baseline: {{time_steps: 8, feature_scale: 0.125}}
factors: {{time_steps: [2, 8], feature_scale: [0.125, 0.25]}}
seeds: 2
"""
EXPANDER = "[role=row] [col-id='attributes.`Run Name`'] button"
"""What unfolds a run's children."""


BESIDE = """name => {
    const inner = '.ReactVirtualized__Grid__innerScrollContainer > div';
    const height = name.parentElement.style.top;
    return [...document.querySelectorAll(inner)].filter(cell => cell.style.top === height && !cell.contains(name)).map(
        cell => cell.innerText);
}"""
"""The values at the height of a metric's name. Further down, where one has to scroll, MLflow 3.17 leaves the names behind."""


@dataclass(frozen=True)
class Visit:
    """A browser, a server, and what its store has of one study."""

    browser: Browser
    address: str
    experiment: str
    parent: Run
    children: list[Run]
    """By name."""

    def open(self, path: str, query: str = "workflowType=machine_learning") -> Page:
        """A page of the study's experiment, in a new window."""
        page = new_page(self.browser)
        page.goto(f"{self.address}/#/experiments/{self.experiment}/runs{path}?{query}")
        return page

    def client(self) -> MlflowClient:
        return MlflowClient(self.address)

    def name(self, run: Run) -> str:
        return str(run.info.run_name)

    def record(self) -> StudyRecord:
        artifact = Path(self.client().download_artifacts(self.parent.info.run_id, run_record.STUDY_ARTIFACT))
        return StudyRecord.from_json(artifact.read_text())


@contextmanager
def visit(storage: Path, name: str, folder: Path) -> Iterator[Visit]:
    """Somebody visits a study's store."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with headless_browser() as browser, mlflow_server(folder, port, f"sqlite:///{storage / 'mlflow.db'}"):
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name(name).experiment_id
        runs = client.search_runs([experiment], max_results=1000)
        parent = next(run for run in runs if run.data.tags[run_record.KIND] == run_record.KIND_STUDY)
        children = sorted((run for run in runs if run is not parent), key=lambda run: str(run.info.run_name))
        yield Visit(browser, address, experiment, parent, children)


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The storage of a small finished study; of all processes that run tests, the first that needs it runs it."""
    folder = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    study, storage = folder / "small.yaml", folder / "small_results"
    with (folder / "small.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not study.exists():
            study.write_text(SMALL)
            subprocess.run([*SPIKESWEEP, "run", str(study), "--storage", str(storage)], check=True, capture_output=True)
    return storage


@pytest.fixture(scope="module")
def small(small_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with visit(small_study, "small", tmp_path_factory.mktemp("server")) as opened:
        yield opened


def see_runs_grouped(study: Visit, folder: Path) -> None:
    page = study.open("")
    shown = wait_for_texts(page, study.name(study.parent), f"{1 + len(study.children)} matching runs")
    assert not any(study.name(child) in shown for child in study.children)
    page.locator(EXPANDER).first.click()
    page.get_by_text(f"seed {study.record().seeds[-1]}").nth(1).wait_for()
    shoot(page, folder, "runs")
    nested = {study.name(child) for child in study.children} & set(page.inner_text("body").splitlines())
    assert len(nested) >= min(len(study.children), 10)  # the table draws the rows that fit


def see_question_and_design(study: Visit, folder: Path, question: str) -> None:
    page = study.open(f"/{study.parent.info.run_id}")
    num = len(study.children)
    wait_for_texts(page, question, f"{num} of {num} replicates finished", "Child runs", "Finished")  # before anything is unfolded
    shoot(page, folder, "parent")
    page.get_by_text("Show more").first.click()
    record = study.record()
    cells = {json.dumps(replicate.levels) for replicate in record.replicates}
    shown = wait_for_texts(page, "best cell by validation accuracy", f"{len(cells)} cells × {len(record.seeds)} seeds")
    for factor, levels in record.factors.items():
        assert f"{factor}\t{', '.join(map(level_in_words, levels))}" in shown


def see_accuracy_at_t(study: Visit, folder: Path) -> None:
    child = max(study.children, key=lambda run: int(run.data.params["time_steps"]))
    history = study.client().get_metric_history(child.info.run_id, run_record.ACCURACY_AT_T)
    page = study.open(f"/{child.info.run_id}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill(run_record.ACCURACY_AT_T)
    chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(
        has_text=f"({run_record.ACCURACY_AT_T})"
    )  # in its legend
    assert drawn(chart) == [(metric.step, metric.value) for metric in history]
    assert [metric.step for metric in history] == list(range(1, int(child.data.params["time_steps"]) + 1))
    shoot(page, folder, "accuracy_at_t")


def see_two_compared(study: Visit, folder: Path) -> None:
    two = [next(run for run in study.children if run.data.params["time_steps"] == steps) for steps in ("2", "8")]
    runs = json.dumps([run.info.run_id for run in two])
    page = new_page(study.browser)
    page.goto(f'{study.address}/#/compare-runs?runs={runs}&experiments=["{study.experiment}"]')
    wait_for_texts(page, "Comparing 2 Runs", "Run details", *map(study.name, two))
    assert row(page, "time_steps") == ["2", "8"]
    assert row(page, "seed") == [run.data.params["seed"] for run in two]
    name = page.get_by_role("grid").get_by_text(run_record.ACCURACY_AT_T, exact=True)
    last = [run.data.metrics[run_record.ACCURACY_AT_T] for run in two]
    assert [float(value) for value in name.evaluate(BESIDE)] == pytest.approx(last, abs=0.0006)  # three digits are shown
    shoot(page, folder, "comparison")


def row(page: Page, title: str) -> list[str]:
    """The values of both runs in the row with this title."""
    cells = page.get_by_role("row").filter(has=page.get_by_text(title, exact=True)).first.inner_text()
    return cells.split()[1:]


def see_report(study: Visit, folder: Path, question: str) -> None:
    page = study.open(f"/{study.parent.info.run_id}")
    page.get_by_text("Show more").first.click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="report", exact=True).click()
    page = opened.value
    wait_for_texts(page, "summary.html")
    report = page.frame_locator("iframe")
    report.get_by_text(question).wait_for()
    num = len(study.children)
    assert f"{num} of {num} replicates finished." in report.locator("body").inner_text()
    sizes = report.locator("svg").evaluate_all("figures => figures.map(figure => figure.getBoundingClientRect().width)")
    assert len(sizes) >= 3
    assert min(sizes) > 300
    report.get_by_text("Accuracy against t", exact=True).scroll_into_view_if_needed()
    shoot(page, folder, "report")


def see_cells_ranked(study: Visit, folder: Path) -> None:
    page = study.open(f"/{study.parent.info.run_id}")
    page.get_by_text("Show more").first.click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="cells, means over seeds").click()
    page = opened.value
    cells: dict[str, list[float]] = {}
    for run in study.children:
        cells.setdefault(run.data.tags[run_record.LEVELS], []).append(run.data.metrics[run_record.ACCURACY])
    best = max(sum(accuracies) / len(accuracies) for accuracies in cells.values())
    wait_for_texts(page, "cells, means over seeds", "Group: time_steps")
    shown = page.locator(f"[role=row] [col-id='metrics.`{run_record.ACCURACY}`']").nth(1).inner_text()  # below the title
    assert float(shown.split()[0].rstrip("…")) == pytest.approx(best, abs=1e-6)
    shoot(page, folder, "cells")


def test_children_are_grouped_under_the_study(small: Visit, tmp_path: Path) -> None:
    """The run table shows the study's run, and its replicates once it is unfolded."""
    see_runs_grouped(small, tmp_path)


def test_the_study_says_what_was_asked(small: Visit, tmp_path: Path) -> None:
    """The page of the study's run has the question, the design, every factor with its levels, and that it is finished."""
    see_question_and_design(small, tmp_path, QUESTION)


def test_accuracy_at_t_is_a_chart_of_t(small: Visit, tmp_path: Path) -> None:
    """A replicate's page draws accuracy at t with t as its step, value for value as recorded."""
    see_accuracy_at_t(small, tmp_path)


def test_two_replicates_stand_side_by_side(small: Visit, tmp_path: Path) -> None:
    """The comparison of two replicates shows their names, parameters and metrics in columns."""
    see_two_compared(small, tmp_path)


def test_the_report_opens_inside_mlflow(small: Visit, tmp_path: Path) -> None:
    """The report page is shown among the artifacts, with its figures, in a frame that allows it no other requests."""
    see_report(small, tmp_path, QUESTION)


def test_a_saved_view_ranks_the_cells(small: Visit, tmp_path: Path) -> None:
    """The view of cells has the best mean over seeds in its first row."""
    see_cells_ranked(small, tmp_path)


def test_the_quickstart_is_understood(tmp_path: Path) -> None:
    """All of that holds of the whole quickstart, whose run table says at once which cell is best."""
    storage, question = tmp_path / "results", "Which of time steps, feature scale and pooling layout matters"
    subprocess.run([*SPIKESWEEP, "run", "quickstart", "--storage", str(storage)], check=True, capture_output=True)
    with visit(storage, "quickstart", tmp_path) as study:
        see_runs_grouped(study, tmp_path)
        see_question_and_design(study, tmp_path, question)
        see_accuracy_at_t(study, tmp_path)
        see_two_compared(study, tmp_path)
        see_report(study, tmp_path, question)
        see_cells_ranked(study, tmp_path)
