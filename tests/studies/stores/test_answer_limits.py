"""A server that answers too slowly is given up, however it spreads its answer over time; a slow but steady one is not."""

import time

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from studies.stores import answer_limits, mlflow_access
from studies.stores.mlflow_access import StoreError, check_answers
from tests.studies.servers import slow_server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_limits.LimitedResponse, "seconds", 0.4)
    monkeypatch.setattr(mlflow_access._QuickResponse, "seconds", 0.4)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_a_body_that_drips() -> None:
    """MLflow's client, whose own limit is for the time between two pieces, gives up all the same."""
    with slow_server(pause_s=0.05) as address:
        begun = time.monotonic()
        with pytest.raises(MlflowException):
            MlflowClient(address).search_experiments()
        assert time.monotonic() - begun < 5


def test_headers_that_drip() -> None:
    """The check before a store is used names the reason."""
    with slow_server(pause_s=0.05, headers_too=True) as address:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"does not answer within 10 s .*bytes came in"):
            check_answers(address)
        assert time.monotonic() - begun < 5


def test_a_large_answer_may_take_longer() -> None:
    """As long as enough comes."""
    with slow_server(pause_s=0.05, piece=b"x" * 1000, num_pieces=16) as address:
        begun = time.monotonic()
        assert len(requests.get(address, timeout=5).content) == 16_000
        assert time.monotonic() - begun > 0.4
