"""The fields of a config that say how weights are changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from trainables.networks.rules import RuleError
from trainables.training.configs import setting
from trainables.training.recipe_parts.length_fields import LengthFields

FALL_OF_ONE_CYCLE = 1 / 250_000
"""PyTorch's ``OneCycleLR`` ends at this fraction of the largest learning rate."""
RISE_OF_ONE_CYCLE = 0.3
"""The share of the steps in which the learning rate of PyTorch's ``OneCycleLR`` rises."""
MOMENTUM = 0.9
"""Where the momentum follows no cycle and the config names none."""


def canonical_milestones(milestones: float | str | None) -> str | None:
    """The one spelling of ``lr_milestones``; a text that holds other words than numbers stays as it was written."""
    if milestones is None:
        return None
    try:
        return " ".join(_spelt(float(word)) for word in str(milestones).split())
    except ValueError:
        return str(milestones)


def _spelt(epoch: float) -> str:
    return f"{epoch:.10g}"


@dataclass(frozen=True, kw_only=True)
class OptimisationFields(LengthFields):
    """The length of training, its batches, the optimiser and the schedule of its learning rate."""

    batch_size: int = setting(64, at_least=1, section="training")
    """How many images there are in a step of the optimiser."""

    optimizer: Literal["adamw", "sgd", "muon"] = setting("adamw")
    """The optimiser: adamw; sgd with momentum; or muon (Jordan et al. 2024), which orthogonalises the update of every
    convolution and linear layer between the first and the output layer, as matrices of outputs by inputs, scaled as AdamW's are
    (Liu et al. 2025), and leaves all other weights to adamw."""

    lr: float = setting(5e-3, above=0)
    """The largest learning rate of the schedule. A training of one step has this rate."""

    weight_decay: float = setting(0.01, at_least=0)
    """How strongly weights are drawn to 0: the decoupled weight decay of adamw and muon, or the L2 penalty of sgd."""

    momentum: float | None = setting(None, at_least=0, below=1, before=None)
    """The momentum of sgd and muon, and the first beta of adamw. null takes 0.9; with schedule one_cycle it falls from 0.95 to
    0.85 while the learning rate rises, and rises again while that falls."""

    nesterov: bool = setting(True, before=True)
    """Of sgd and muon: whether the momentum is Nesterov's, which looks one step ahead (Sutskever et al. 2013)."""

    bias_lr_factor: float = setting(1.0, above=0, below=1e6, before=1.0)
    """A factor for the learning rate of biases and of the scales of normalisations: those of batch norms, and the gains of
    standardised weights. What weight decay takes from them in a step stays the same."""

    ema_decay: float = setting(0.0, at_least=0, below=1, before=0.0)
    """d of the average of the weights over the steps of the optimiser, w' ← d_n w' + (1 - d_n) w with
    d_n = min(d, (1 + n)/(10 + n)) at its n-th step, statistics of batch norms included. The average is what is judged and kept; 0
    takes the last weights."""

    schedule: Literal["one_cycle", "cosine", "step", "constant"] = setting("one_cycle", before="one_cycle")
    """The learning rate over the steps of the optimiser: one_cycle rises to lr and falls (Smith & Topin 2019); cosine falls from
    lr, η = lr (e + (1 - e)(1 + cos(π p))/2) with e = lr_end and p from 0 at the first step to 1 at the last; step is multiplied
    by lr_factor at every milestone; constant stays lr. Pre-training and fine-tuning take the same schedule over their steps."""

    warmup_fraction: float | None = setting(None, at_least=0, at_most=1, before=None)
    """The share of all steps in which the learning rate rises, from lr_start · lr to lr: linearly, or with schedule one_cycle as
    one_cycle_shape says. null takes 0.3 with schedule one_cycle, 0 with others."""

    lr_start: float = setting(0.04, above=0, at_most=1, before=0.04)
    """The learning rate at the first step of its rise, as a fraction of lr."""

    lr_end: float | None = setting(None, at_least=0, at_most=1, before=None)
    """Of schedules one_cycle and cosine: the learning rate at the last step, as a fraction of lr. null takes 0.000004 with
    one_cycle, 0 with cosine."""

    one_cycle_shape: Literal["cosine", "linear"] = setting("cosine", before="cosine")
    """Of schedule one_cycle: how the learning rate rises and falls, along half a cosine or along a line (a triangle)."""

    lr_milestones: float | str | None = setting(None, before=None, canonical=canonical_milestones)
    """Of schedule step: after how many epochs the learning rate is multiplied by lr_factor, as a text such as "60 120 160";
    fractions of an epoch are allowed. In pre-training and fine-tuning they lie at the same fractions of the steps."""

    lr_factor: float = setting(0.1, above=0, at_most=1, before=0.1)
    """Of schedule step: what the learning rate is multiplied by at every milestone."""

    def milestones(self) -> list[float]:
        """``lr_milestones`` as numbers, in epochs.

        Raises:
            ValueError: There is another word among them.
        """
        return [float(word) for word in str(self.lr_milestones).split()] if self.lr_milestones is not None else []

    def milestones_within(self, epochs: int) -> str | None:
        """``lr_milestones`` at the same fractions of another number of epochs."""
        if self.schedule != "step" or not epochs:
            return None
        return " ".join(_spelt(epoch * epochs / self.epochs) for epoch in self.milestones())

    def share_of_rise(self) -> float:
        """``warmup_fraction``, or what it is where it is null."""
        if self.warmup_fraction is None:
            return RISE_OF_ONE_CYCLE if self.schedule == "one_cycle" else 0.0
        return float(self.warmup_fraction)

    def fraction_at_end(self) -> float:
        """``lr_end``, or what it is where it is null."""
        if self.lr_end is None:
            return FALL_OF_ONE_CYCLE if self.schedule == "one_cycle" else 0.0
        return self.lr_end

    def constant_momentum(self) -> float:
        """``momentum``, or what it is where it is null and follows no cycle."""
        return MOMENTUM if self.momentum is None else self.momentum

    def inactive_optimisation(self) -> set[str]:
        """The fields that do nothing with this optimiser and this schedule."""
        inactive = {"nesterov"} if self.optimizer == "adamw" or self.momentum == 0 else set[str]()
        inactive |= set() if self.share_of_rise() else {"lr_start"}
        inactive |= set() if self.schedule in ("one_cycle", "cosine") else {"lr_end"}
        inactive |= set() if self.schedule == "one_cycle" else {"one_cycle_shape"}
        return inactive if self.schedule == "step" else inactive | {"lr_milestones", "lr_factor"}

    def resolved_optimisation(self) -> dict[str, Any]:
        """What the fields come to whose null stands for a number."""
        falls = self.schedule in ("one_cycle", "cosine")
        cycles = self.momentum is None and self.schedule == "one_cycle"
        return {
            "warmup_fraction": self.share_of_rise(),
            "lr_end": self.fraction_at_end() if falls else None,
            "momentum": None if cycles else self.constant_momentum(),
        }

    def optimisation_problems(self) -> Iterator[RuleError]:
        """The rules that these fields break together."""
        if self.schedule != "step":
            return
        yield from self._milestone_problems()
        if self.time_budget_s is not None:
            rule = "time_budget_s must be null where schedule is step, as lr_milestones are epochs"
            yield RuleError(rule, repair="write time_budget_s: null, or schedule: cosine", field="time_budget_s")

    def _milestone_problems(self) -> Iterator[RuleError]:
        try:
            milestones = self.milestones()
        except ValueError:
            milestones = []
        within = sorted({epoch for epoch in milestones if 0 < epoch < self.epochs})
        instead = " ".join(map(_spelt, within or [self.epochs / 2]))
        if not milestones or milestones != within:
            rule = f"lr_milestones must be epochs above 0 and below {_spelt(self.epochs)}, each later than the one before"
            repair = f'write lr_milestones: "{instead}", or schedule: constant'
            yield RuleError(rule, repair=repair, field="lr_milestones")
        elif self.share_of_rise() * self.epochs > milestones[0]:
            most = _rounded_down(milestones[0] / self.epochs)
            rule = f"warmup_fraction must be at most {most}, as the learning rate has to rise before the first of lr_milestones"
            repair = f"write warmup_fraction: {most}"
            yield RuleError(rule, repair=repair, field="warmup_fraction")


def _rounded_down(fraction: float) -> str:
    return f"{int(fraction * 1000) / 1000:g}"
