"""What a worker's machine is busy with while it trains, by MLflow's own monitors, for its page "System metrics"."""

import threading
from types import TracebackType
from typing import Any, Self

PREFIX = "system/"
"""MLflow's."""
SECONDS_BETWEEN_LOOKS = 1.0


class SystemMetrics:
    """Looks every second in a thread of its own, from ``with`` to its end."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor  # noqa: PLC0415  # only where it is wanted
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor  # noqa: PLC0415

        self._monitors: list[Any] = [CPUMonitor()]
        try:
            self._monitors.append(GPUMonitor())
        except Exception:  # noqa: BLE001  # no GPU, or no driver; NVML has its own errors
            self._monitors[1:] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="system metrics", daemon=True)

    def __enter__(self) -> Self:
        self._collect()  # psutil's first percentage is since never
        self._clear()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def take(self) -> dict[str, float]:
        """Means since the last time, by metric."""
        self._collect()
        with self._lock:
            taken = [monitor.aggregate_metrics() for monitor in self._monitors]
        self._clear()
        return {f"{PREFIX}{name}": value for metrics in taken for name, value in metrics.items()}

    def _look(self) -> None:
        while not self._is_over.wait(SECONDS_BETWEEN_LOOKS):
            self._collect()

    def _collect(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.collect_metrics()

    def _clear(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                monitor.clear_metrics()
