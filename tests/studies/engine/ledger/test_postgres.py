"""Studies whose ledger is PostgreSQL and whose runs go to an MLflow server on PostgreSQL, through kills and restarts."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient

from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.ledger.ledger import open_ledger
from studies.engine.ledger.storage import check_ledger
from studies.engine.recording.mlflow_store import connect
from tests.conftest import PATIENCE_S, SPIKESWEEP, Start, run, wait_for
from tests.studies.postgresql import PASSWORD, Database, mlflow_on, needs_postgresql, postgresql
from tests.studies.stage import list_ledger

pytestmark = needs_postgresql
EPOCHS = 20


@dataclass(frozen=True)
class Servers:
    """Both of them, as a study file names them."""

    database: Database
    tracking_uri: str

    def options(self, name: str, *, password: bool = False) -> list[str]:
        """What a study is given to use them."""
        values = {
            "name": name,
            "ledger": self.database.url("ledger", password=password),
            "tracking_uri": self.tracking_uri,
            "config.epochs": EPOCHS,
        }
        return [word for path, value in values.items() for word in ("--set", f"{path}={value}")]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One pair for all tests; their studies have different names."""
    folder = tmp_path_factory.mktemp("servers")
    with postgresql() as database, mlflow_on(database, folder) as uri:
        yield Servers(database, uri)


def assert_whole(servers: Servers, name: str) -> None:
    """Six replicates: one COMPLETE ledger trial, one FINISHED run, one value per metric and epoch each; one finished parent."""
    assert list_ledger(servers.database.url("ledger"))[name] == {"COMPLETE": 6}
    client = MlflowClient(servers.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    assert Counter(found.info.status for found in runs) == {"FINISHED": 7}
    children = [found for found in runs if "mlflow.parentRunId" in found.data.tags]
    assert len({child.data.tags["spikesweep.identity"] for child in children}) == 6
    for child in children:
        for metric in ("train/loss", "val/accuracy"):
            steps = [point.step for point in client.get_metric_history(child.info.run_id, metric)]
            assert steps == list(range(1, EPOCHS + 1))


@pytest.mark.slow
def test_a_killed_driver(servers: Servers, tiny_study: Path, start: Start) -> None:
    """kill -9 of the driver, and the same command again: whole, and nothing doubled; the password in the ledger's URL is shown
    neither by a command nor by a record."""
    storage, options = tiny_study.parent / "results", servers.options("killed", password=True)
    driver = start(tiny_study, *options)
    wait_for(storage, "checkpoints/*/reports.json", 2, driver)
    driver.kill()
    output, _ = driver.communicate(timeout=PATIENCE_S)
    last = run(tiny_study, *options, "--json")
    assert last.returncode == 0, last.stdout + last.stderr
    assert_whole(servers, "killed")

    command = [*SPIKESWEEP, "status", str(tiny_study), *options, "--json"]
    status = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"COMPLETE": 6' in status.stdout
    client = MlflowClient(servers.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    shown = [output, last.stdout, last.stderr, status.stdout, status.stderr, *(str(found) for found in runs)]
    reports = storage / "reports" / "killed"
    shown += [file.read_text() for file in reports.rglob("*") if file.suffix in (".csv", ".html", ".md", ".svg", ".tex")]
    (parent,) = (found.info.run_id for found in runs if "mlflow.parentRunId" not in found.data.tags)
    artifacts = Path(client.download_artifacts(parent, "", str(tiny_study.parent)))
    shown += [file.read_text() for file in artifacts.rglob("*") if file.suffix in (".yaml", ".json", ".md")]
    assert not [text for text in shown if PASSWORD in text]


@pytest.mark.slow
def test_a_database_that_restarts(servers: Servers, tiny_study: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart of the database breaks every connection; the study goes on, and ends whole. $PGPASSWORD is enough of a login."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    driver = start(tiny_study, *servers.options("restarted"))
    wait_for(tiny_study.parent / "results", "checkpoints/*/checkpoint.pt", 1, driver)
    servers.database.control("restart", "-m", "fast")
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert PASSWORD not in output
    assert_whole(servers, "restarted")


def test_a_refused_login_shows_no_password(servers: Servers, tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is a problem with the URL, in which it is masked."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    url = servers.database.url("ledger").replace(PASSWORD, "not-the-password")
    result = run(tiny_study, "--set", f"ledger={url}")
    assert result.returncode == 2, result.stdout + result.stderr
    assert "spikesweep:***@127.0.0.1" in result.stderr
    assert "not-the-password" not in result.stdout + result.stderr


def test_a_database_of_mlflow_takes_no_ledger(servers: Servers, tiny_study: Path) -> None:
    """Optuna would write its schema's number over MLflow's; the database keeps its tables."""
    url = servers.database.url("mlflow")
    before = tables_of(url)
    study = load_study(str(tiny_study), [f"ledger={url}"])
    for command in (lambda: check_ledger(url), lambda: open_ledger(url, "tiny", study.space)):
        with pytest.raises(StudyError, match="it has the table alembic_version, but not studies") as caught:
            command()
        assert PASSWORD not in str(caught.value)
    assert tables_of(url) == before
    open_ledger(servers.database.url("ledger"), "tiny", study.space)
    with pytest.raises(StudyError, match="it has the table alembic_version, but not experiments"):
        connect(servers.database.url("ledger"))


def tables_of(url: str) -> list[str]:
    return sorted(sqlalchemy.inspect(sqlalchemy.create_engine(url)).get_table_names())
