"""How busy a worker's machine is while it trains: measured by MLflow's own monitors, for its page "System metrics"."""

import threading
from types import TracebackType
from typing import Any, Self

PREFIX = "system/"
"""Where MLflow's page looks for them."""
SECONDS_BETWEEN_LOOKS = 1.0


class SystemMetrics:
    """Measures once a second in a thread of its own, inside of ``with``; ``take`` gives the means."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor  # noqa: PLC0415  # seconds to import, and often not wanted
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor  # noqa: PLC0415

        self._monitors: list[Any] = [CPUMonitor()]
        try:
            self._monitors.append(GPUMonitor())
        except Exception:  # noqa: BLE001  # no GPU, or no driver; NVML has its own errors
            self._monitors[1:] = []
        self._lock = threading.Lock()
        self._is_finished = threading.Event()
        self._thread = threading.Thread(target=self._look, name="system metrics", daemon=True)

    def __enter__(self) -> Self:
        self._collect()  # psutil's first percentage has no time to refer to
        self._clear()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._is_finished.set()
        self._thread.join()

    def take(self) -> dict[str, float]:
        """The mean of each metric since the last call, by its name in MLflow."""
        self._collect()
        with self._lock:
            taken = [monitor.aggregate_metrics() for monitor in self._monitors]
        self._clear()
        return {f"{PREFIX}{name}": value for metrics in taken for name, value in metrics.items()}

    def _look(self) -> None:
        while not self._is_finished.wait(SECONDS_BETWEEN_LOOKS):
            self._collect()

    def _collect(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.collect_metrics()

    def _clear(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.clear_metrics()
