"""Access to an MLflow store: for the engine, which writes it, and for the analysis, which reads it.

A store is a database, a folder or a server. Before MLflow's client is used, which may wait for minutes or make what is not
there, it is checked that the store is there and answers within seconds.
"""

import http.client
import sqlite3
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import studies.library_settings

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

from studies import run_record
from studies.credentials import hide_secrets
from studies.plain_text import first_line
from studies.stores.answer_limits import LimitedResponse
from studies.stores.sqlite_files import MLFLOW, OtherFileError, check_tables, connect_to_read, has_tables
from studies.stores.store_uris import sqlite_file

SECONDS_TO_ANSWER = 10
PAGE_SIZE = 250
"""Runs of one request; a server under load must send them within its time-out."""
SERVERS = ("http://", "https://")
DATABASES = ("postgresql", "mysql", "mssql")


http.client.HTTPConnection.response_class = LimitedResponse  # of every library in this process; MLflow has no option for it


class _QuickResponse(LimitedResponse):
    seconds = SECONDS_TO_ANSWER


class StoreError(Exception):
    """An MLflow store is not there, is none of MLflow's, or does not answer. The message says which, without passwords."""


def open_store(uri: str) -> MlflowClient:
    """A client of a store that is there; nothing is made.

    Raises:
        StoreError: The store is not there, is none of MLflow's, or does not answer.
    """
    if file := sqlite_file(uri):
        check_file(file)
    elif "://" not in uri and not Path(uri).is_dir():
        raise StoreError("there is no such folder")  # MLflow would make it
    check_answers(uri)
    return MlflowClient(uri)


def check_answers(uri: str) -> None:
    """See whether a server or a database answers within ``SECONDS_TO_ANSWER``; of files there is nothing to see.

    Raises:
        StoreError: It does not.
    """
    if uri.startswith(SERVERS):
        _check_server(uri)
    elif uri.startswith(DATABASES):
        _check_database(uri)


def check_file(file: Path) -> None:
    """See whether a file is a SQLite database that MLflow has made.

    Raises:
        StoreError: It is not there, is something else, or was not made to its end.
    """
    if not file.is_file():
        raise StoreError("there is no such file")  # MLflow would make it
    try:
        if not has_tables(file, MLFLOW):
            raise StoreError("the file is a database, but it is no store of MLflow's")  # MLflow would make it one
        with closing(connect_to_read(file)) as connection:
            is_half_made = not connection.execute("SELECT 1 FROM experiments LIMIT 1").fetchall()  # MLflow's last step
    except OtherFileError as error:
        raise StoreError(str(error)) from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"the file cannot be read ({error})") from None
    if is_half_made:
        raise StoreError(f"the command that made the file was ended on the way; it holds no run: delete it (rm '{file}')")


def _check_server(uri: str) -> None:
    """Any answer will do: MLflow's client judges it."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
        if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
            return  # the proxy will say whether the server answers
        with closing(_connection(parts.scheme, host, port)) as connection:
            connection.response_class = _QuickResponse
            connection.request("GET", "/health")
            connection.getresponse()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StoreError(f"the server does not answer within {SECONDS_TO_ANSWER} s ({reason_of(error, uri)})") from None


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=SECONDS_TO_ANSWER)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # MLflow's client judges whether to trust it
    return http.client.HTTPSConnection(host, port, timeout=SECONDS_TO_ANSWER, context=context)


def _check_database(uri: str) -> None:
    """MLflow itself would try for minutes."""
    try:
        with sqlalchemy.create_engine(uri, connect_args={"connect_timeout": SECONDS_TO_ANSWER}).connect() as connection:
            check_tables(sqlalchemy.inspect(connection).get_table_names(), MLFLOW)
    except TypeError:
        return  # a driver without this option: MLflow's client will say whether the database answers
    except OtherFileError as error:
        raise StoreError(str(error)) from None
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise StoreError(f"the database does not answer ({reason_of(error, uri)})") from None


def reason_of(error: Exception, uri: str) -> str:
    """The first line of what a store's error says, without the store's URI and without passwords."""
    return hide_secrets(first_line(error).replace(uri, "its store"), uri)


def all_pages(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """All that a search of MLflow's client finds, where one call gives one page.

    Args:
        search: A method with the argument ``page_token``, e.g. ``client.search_experiments``.
        *arguments: Given to it.
        **options: Given to it.
    """
    token: str | None = None
    while token != "":
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token or ""


def all_experiments(client: MlflowClient) -> Iterator[Experiment]:
    """The experiments of a store that have not been deleted."""
    return all_pages(client.search_experiments)


def search_runs(client: MlflowClient, experiment_id: str, query: str = "", *, deleted: bool = False) -> Iterator[Run]:
    """The runs of an experiment that a query finds, newest first; those that were deleted in MLflow, or the others."""
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    return all_pages(client.search_runs, [experiment_id], query, run_view_type=view, max_results=PAGE_SIZE)


def of_kind(kind: str, study: str) -> str:
    """A query for the runs of a study of one kind: ``run_record.KIND_STUDY`` or ``run_record.KIND_REPLICATE``."""
    return f"tags.`{run_record.KIND}` = '{kind}' and {of_study(study)}"


def of_study(study: str) -> str:
    """A query for all runs of a study."""
    return f"tags.`{run_record.STUDY}` = '{study}'"


def find_experiment(client: MlflowClient, study: str, *, deleted: bool = False) -> str | None:
    """The id of the experiment that has a study's runs: its own, or one that several studies share. None if there is none.

    With ``deleted`` also one of which all runs of the study were deleted; an experiment that was deleted itself never counts.
    """
    everywhere = [experiment.experiment_id for experiment in all_experiments(client)]
    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    found = client.search_runs(everywhere, of_study(study), run_view_type=view, max_results=1) if everywhere else []
    return found[0].info.experiment_id if found else None


def experiment_names(client: MlflowClient) -> str:
    """The names of a store's experiments, with commas, for messages; ``none`` if it has none."""
    return ", ".join(experiment.name for experiment in all_experiments(client)) or "none"
