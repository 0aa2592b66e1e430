"""System metrics: measured by MLflow's own monitors, on this very machine."""

import threading

from studies.engine.execution.system_metrics import SystemMetrics
from studies.engine.execution.worker import _with_system_metrics
from trainables.training.epoch_report import EpochReport

EXPECTED = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes", "system/system_memory_usage_percentage"}


def test_every_look_has_values() -> None:
    """However soon one asks again, there is a value for processors and memory."""
    with SystemMetrics() as metrics:
        for _ in range(2):
            taken = metrics.take()
            assert taken.keys() >= EXPECTED
            assert 0 <= taken["system/cpu_utilization_percentage"] <= 100
            assert 0 < taken["system/system_memory_usage_percentage"] <= 100


def test_reports_get_them() -> None:
    """Every epoch's report has them beside its own metrics, and nobody looks any more once the replicate is let go."""
    reports = _with_system_metrics(iter([EpochReport(epoch, 0, {"val/accuracy": 0.5}, {}, 3) for epoch in (1, 2)]))
    first = next(reports)
    assert first.metrics.keys() >= {"val/accuracy", *EXPECTED}
    assert "system metrics" in {thread.name for thread in threading.enumerate()}
    reports.close()
    assert "system metrics" not in {thread.name for thread in threading.enumerate()}
