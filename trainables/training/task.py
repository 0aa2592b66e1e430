"""What ``training.loop`` trains: a network, its loss, and how it is run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from trainables.data.datasets import Splits
from trainables.networks.collapsed import TimeGroups
from trainables.networks.network import Network
from trainables.networks.precision import Precision
from trainables.training.regularisers import Pruning, SpikeRegularisers

Encoding = Literal["constant", "poisson"]


@dataclass(frozen=True)
class Prepared:
    """What is reported of making a network ready, by initial weights or a conversion.

    Attributes:
        metrics: Scalars of the first report.
        run_facts: Texts of every report.
        tables: Tables of every report.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    run_facts: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def _as_built(network: Network, splits: Splits) -> Prepared:
    del network, splits
    return Prepared()


@dataclass(frozen=True, kw_only=True)
class Task:
    """What ``fit`` trains, and how it is run.

    Attributes:
        build: Makes the network's structure, always the same.
        loss: Of outputs ``[T, B, classes]`` and labels ``[B]``.
        seed: The replicate's.
        prepare: Gives it its first weights, from a device's data; not called on a resumed replicate.
        time_steps: T while training; 1 for an analogue network.
        eval_time_steps: T of every evaluation.
        encoding: How images become inputs.
        time_groups: K of the rate-collapsed backward pass; None for the network's own gradient.
        precision: Of the convolutions.
        pruning_is_over: Whether filters that are pruned stay so, and no more are.
        report_prepared: Whether the prepared network gets a report before any training.
        keep_weights: Whether a finished replicate keeps its weights, for its children or as a model to be loaded.
        num_micro_batches: In how many parts every batch is run, so that it takes less memory. A training batch's parts add up to
            its gradient; evaluation and calibration have smaller batches. What a batch norm and a rate target see are parts.

    Raises:
        ValueError: There are no parts.
    """

    build: Callable[[], Network]
    loss: Callable[[Tensor, Tensor], Tensor]
    seed: int
    prepare: Callable[[Network, Splits], Prepared] = _as_built
    time_steps: int = 1
    eval_time_steps: int = 1
    encoding: Encoding = "constant"
    time_groups: TimeGroups | None = None
    precision: Precision = "float32"
    regularisers: SpikeRegularisers | None = None
    pruning: Pruning | None = None
    pruning_is_over: bool = False
    report_prepared: bool = False
    keep_weights: bool = False
    num_micro_batches: int = 1

    def __post_init__(self) -> None:
        if self.num_micro_batches < 1:
            raise ValueError(f"num_micro_batches must be at least 1; got {self.num_micro_batches}")
