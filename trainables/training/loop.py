"""The training loop: epochs of a network on one data set, one report each, resumable after any of them."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from trainables.data.augmentation import training_batch
from trainables.data.datasets import Dataset, Split, Splits, split
from trainables.data.encodings import inputs_of
from trainables.data.label_mixing import likeliest
from trainables.data.normalisation import downsized
from trainables.data.randomness import generator_for
from trainables.kernels.choice import trainer_for
from trainables.kernels.interface import BackendRequest, LossOf, Training
from trainables.networks.layouts import ImageShape
from trainables.networks.network import NORMS, Inputs, Network
from trainables.networks.precision import forward_torch, precision_fact
from trainables.networks.readout import Readout
from trainables.spiking.costs import ENERGY_MODEL
from trainables.training.checkpoints import CheckpointFolder, trained_once
from trainables.training.device_facts import followed, machine_facts
from trainables.training.epoch_report import EpochReport, TrainingError
from trainables.training.epochs.judging import TEST_ACCURACY, Judge
from trainables.training.epochs.selection import SelectedEpoch
from trainables.training.epochs.time_budget import EPOCHS, NO_BUDGET, TimeBudget
from trainables.training.files import Location
from trainables.training.memory_peak import MemoryPeak
from trainables.training.optimisation.averaging import average_of
from trainables.training.optimisation.optimisers import Optimiser
from trainables.training.optimisation.schedules import Schedule
from trainables.training.recipe import Recipe
from trainables.training.regularisers import Pruner, SpikePenalty, num_pruned_filters
from trainables.training.task import Prepared, Task

STEPS_OF_A_BUDGET = 10_000
"""A schedule has as many steps where it is laid over the seconds of a time budget, whatever the number of steps taken."""
MOST_KEPT_TRAINERS = 8
"""Kernels are made for one number of time steps; where that is drawn for every step, this number of them is kept."""


def resolve_device(name: str) -> torch.device:
    """The torch device for a config's ``device``."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def fit(task: Task, recipe: Recipe, *, dataset: Dataset, checkpoint_folder: Location | None) -> Iterator[EpochReport]:
    """Train a task and yield a report after every epoch.

    With a ``checkpoint_folder``, a path or a URI, every epoch is stored before it is reported. A later call with the same
    arguments repeats the reports found there and goes on after them, to the same bits on the same CPU (within rounding if
    ``num_micro_batches`` is another); a finished replicate is only repeated.

    Raises:
        TrainingError: A weight or a metric is not finite.
    """
    return trained_once(checkpoint_folder, lambda folder: _fit(task, recipe, dataset=dataset, folder=folder))


def _fit(task: Task, recipe: Recipe, *, dataset: Dataset, folder: CheckpointFolder | None) -> Iterator[EpochReport]:
    device = resolve_device(recipe.device)
    peak = MemoryPeak(device)
    splits = splits_of(recipe, dataset, device)
    network = task.build().to(device)
    checkpoint = folder.load() if folder else None
    state, reports = checkpoint or (dict[str, Any](), list[EpochReport]())
    if checkpoint is None:
        prepared = task.prepare(network, splits)
    else:
        network.load_state_dict(state["network"])
        prepared = Prepared(run_facts=state["facts"], tables=state["tables"])
    trainer = Trainer(task, recipe, network, splits) if recipe.epochs else None
    if checkpoint is not None and trainer:
        trainer.load_state_dict(state)
    yield from reports

    result = trainer.result if trainer else network
    shape = recipe.input_shape(splits.image_shape)
    judge = Judge(task, result, splits, backend_request(task, recipe, shape, task.eval_time_steps))
    backends = {
        "backend": trainer.backend if trainer else judge.backend,
        "evaluation_backend": judge.backend,
        "energy_model": ENERGY_MODEL,
    }
    first_trained = 2 if task.report_prepared else 1
    num_epochs = None if recipe.time_budget_s else recipe.epochs + first_trained - 1
    budget = TimeBudget(recipe.time_budget_s, state)
    selected = SelectedEpoch(task.selection, first_trained, state)
    while not (reports and reports[-1].final):
        epoch = len(reports) + 1
        with budget.running():
            metrics = dict(prepared.metrics)
            if trainer and epoch >= first_trained:
                metrics = trainer.train_epoch(epoch - first_trained + 1, budget)
                _see_that_weights_are_finite(network, epoch)
            judgement = judge.on_validation()
            if selected.needs_test(epoch):
                judgement |= judge.on_test()
        is_last = epoch == num_epochs or budget.is_used_up
        if is_last and TEST_ACCURACY not in judgement.metrics:
            judgement |= judge.on_test()
        facts = prepared.run_facts | _facts_of_parts(task, network) | _facts_of_time_steps(task, recipe)
        facts |= _facts_of_machine(task, device, reports) | backends | selected.run_facts | budget.run_facts
        facts |= _facts_of_images(splits)
        reports.append(
            EpochReport(
                epoch,
                time.time_ns() // 1_000_000,
                metrics | judgement.metrics | budget.metrics() | peak.metrics(),
                judgement.curves,
                epoch if is_last else num_epochs,
                facts,
                prepared.tables,
                judgement.correct if is_last else {},
            )
        )
        selected.consider(reports, result.state_dict(), judgement.correct)
        if is_last:
            reports[-1] = selected.result(reports, result, judge)
        if folder and is_last:
            folder.finish(reports, weights=result.state_dict() if task.keep_weights else None)
        elif folder:
            of_parts = (trainer.state_dict() if trainer else {}) | budget.state_dict() | selected.state_dict()
            known = {"network": network.state_dict(), "facts": prepared.run_facts, "tables": prepared.tables}
            folder.save(known | of_parts, reports)
        yield reports[-1]


def _see_that_weights_are_finite(network: Network, epoch: int) -> None:
    """Spikes are finite whatever the weights are, so that no loss would ever show it."""
    if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
        raise TrainingError(f"epoch {epoch}: the weights are no longer finite numbers; a lower lr may help")


def _facts_of_images(splits: Splits) -> dict[str, str]:
    """What an accuracy is a share of."""
    return {
        "num_classes": str(splits.num_classes),
        "num_validation_images": str(len(splits.validation)),
        "num_test_images": str(len(splits.test)),
    }


def _facts_of_machine(task: Task, device: torch.device, reports: Sequence[EpochReport]) -> dict[str, str]:
    """The device and the arithmetic, and those of the epochs before where they were others."""
    earlier = reports[-1].run_facts if reports else {}
    return machine_facts(device, earlier) | followed({"precision": precision_fact(task.precision, device)}, earlier)


def _facts_of_parts(task: Task, network: Network) -> dict[str, str]:
    """Says that batches are run in parts, and which results depend on it."""
    if task.num_micro_batches == 1:
        return {}
    facts = {"num_micro_batches": str(task.num_micro_batches)}
    if any(network.operations_of(*NORMS)):
        facts["batch_norm"] = "its statistics in training are those of the parts of a batch"
    if task.regularisers and task.regularisers.rate_target is not None:
        facts["rate_target"] = "its distance in training is that of the parts of a batch"
    return facts


def _facts_of_time_steps(task: Task, recipe: Recipe) -> dict[str, str]:
    """Says which time steps the training had, where not every step of the optimiser had the same."""
    used = task.training_time_steps(recipe.epochs)
    if len(used) == 1:
        return {}
    if task.train_time_steps == "mixed":
        return {"train_time_steps": f"drawn from 1 to {task.time_steps} for every step of the optimiser"}
    parts = [f"{number} in {round(share * recipe.epochs)}" for number, share in sorted(used.items(), reverse=True)]
    return {"train_time_steps": f"{', then '.join(parts)} epochs"}


def splits_of(recipe: Recipe, dataset: Dataset, device: torch.device) -> Splits:
    """The parts of a data set that a recipe asks for."""
    return split(
        dataset,
        validation_fraction=recipe.validation_fraction,
        split_seed=recipe.split_seed,
        num_train_images=recipe.num_train_images,
        image_downscale=recipe.image_downscale,
        mean_per_pixel=recipe.mean_per_pixel,
        device=device,
    )


class Trainer:
    """The training of a network: its optimiser, schedule, regularisers and backend."""

    def __init__(self, task: Task, recipe: Recipe, network: Network, splits: Splits) -> None:
        self._task, self._recipe, self._network, self._splits = task, recipe, network, splits
        self._readout = Readout(network, task.ties)
        self._optimiser = Optimiser(recipe, network)
        self._num_batches = len(batch_sizes(splits.train, recipe))
        self._schedule = Schedule(recipe, STEPS_OF_A_BUDGET if recipe.time_budget_s else recipe.epochs * self._num_batches)
        self._progress: float | None = None
        self._augmentation = recipe.augmentation()
        self._average = average_of(network, recipe.ema_decay) if recipe.ema_decay else None
        regularisers, pruning = task.regularisers, task.pruning
        self._penalty: SpikePenalty | None = None
        if regularisers and regularisers.penalise:
            self._penalty = SpikePenalty(regularisers, recipe.epochs, network)
        self._pruner: Pruner | None = None
        if pruning and pruning.prune != "none":
            self._pruner = Pruner(pruning, network, task.seed, is_over=task.pruning_is_over)
        self._teacher: Network | None = None
        if task.distillation:
            self._teacher = task.distillation.teacher().to(splits.train.labels.device).eval()
        self._trainers: dict[int, Training | None] = {}
        self._trainers[task.time_steps], self.backend = self._make_trainer(task.time_steps)

    def _make_trainer(self, time_steps: int) -> tuple[Training | None, str]:
        task, recipe = self._task, self._recipe
        request = backend_request(task, recipe, recipe.input_shape(self._splits.image_shape), time_steps)
        return trainer_for(self._network, request, task.time_groups, observed_by=needs_layer_observers(task))

    def _trainer_for(self, time_steps: int) -> Training | None:
        """The kernels for a number of time steps, None for plain torch; those that were used last are kept."""
        kept = self._trainers
        trainer = kept.pop(time_steps) if time_steps in kept else self._make_trainer(time_steps)[0]
        while len(kept) >= most_kept_trainers(self._task):
            del kept[next(iter(kept))]
        kept[time_steps] = trainer
        return trainer

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the network."""
        return self._optimiser.state_dict() | ({"average": self._average.state_dict()} if self._average else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The opposite of ``state_dict``."""
        self._optimiser.load_state_dict(state)
        if self._average:
            self._average.load_state_dict(state["average"])

    @property
    def result(self) -> Network:
        """The network whose weights are the result so far: the one that learns, or the average of its weights."""
        return cast("Network", self._average.module) if self._average else self._network

    def train_epoch(self, epoch: int, budget: TimeBudget = NO_BUDGET) -> dict[str, float]:
        """One pass over the training images, or less of it where a time budget ends, but one step at least; its metrics."""
        device = self._splits.train.labels.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            # dropout draws from torch's own generators; seeded per epoch, a resumed replicate draws the same
            torch.manual_seed(generator_for(self._task.seed, "dropout", epoch).initial_seed())
            return self._train_epoch(epoch, budget)

    def _train_epoch(self, epoch: int, budget: TimeBudget) -> dict[str, float]:
        train = self._splits.train
        device = train.labels.device
        self.begin_epoch()
        order = torch.randperm(len(train), generator=generator_for(self._task.seed, "shuffle", epoch)).to(device)
        total_loss = torch.zeros((), dtype=torch.float64, device=device)
        num_correct = torch.zeros((), dtype=torch.int64, device=device)
        num_images = 0
        start = time.perf_counter()
        for batch, positions in enumerate(torch.split(order, batch_sizes(train, self._recipe))):
            if num_images and budget.is_used_up:
                break
            self._progress = budget.progress
            time_steps = self._task.time_steps_at(epoch, batch, self._recipe.epochs)
            loss, num_correct_of_batch = self.step(epoch, batch, positions, time_steps)
            total_loss += loss * len(positions)
            num_correct += num_correct_of_batch
            num_images += len(positions)
        metrics = {"train/loss": float(total_loss) / num_images, "train/accuracy": float(num_correct) / num_images}
        duration_s = time.perf_counter() - start  # after float(), which waits for a GPU
        metrics["time/images_per_s"] = num_images / duration_s
        if budget.progress is not None:
            metrics[EPOCHS] = epoch - 1 + num_images / len(train)
        if self._pruner:
            self._pruner.end_epoch(epoch)
            metrics["pruned_filters"] = num_pruned_filters(self._network)
        return metrics

    def begin_epoch(self) -> None:
        """Prepare for the steps of an epoch."""
        self._network.train()
        if self._pruner:
            self._pruner.begin_epoch()

    def step(self, epoch: int, batch: int, positions: Tensor, time_steps: int) -> tuple[Tensor, Tensor]:
        """One optimiser step on the training images at these positions: their mean loss, and how many were right."""
        task = self._task
        names = {"seed": task.seed, "epoch": epoch, "batch": batch}
        whole = training_batch(self._splits, positions, self._augmentation, task.encoding, **names)
        step = (epoch - 1) * self._num_batches + batch
        if self._progress is not None:
            step = min(int(self._progress * len(self._schedule)), len(self._schedule) - 1)
        if side := task.image_side_at(step / len(self._schedule)):
            whole = (downsized(whole[0], side), *whole[1:])
        self._optimiser.zero_grad()
        if (num_parts := self._num_parts(len(positions))) == 1:
            total_loss, num_correct = self._add_gradients(epoch, time_steps, *whole, share=1.0)
        else:
            parts = zip(*(tensor.tensor_split(num_parts) for tensor in whole), strict=True)
            sums = [self._add_gradients(epoch, time_steps, *part, share=len(part[0]) / len(positions)) for part in parts]
            total_loss, num_correct = (torch.as_tensor(sum(values)) for values in zip(*sums, strict=True))
        self._optimiser.step(self._schedule[step])
        self._network.project()
        if self._pruner:
            self._pruner.after_step()
        if self._average:
            self._average.update_parameters(self._network)
        return total_loss, num_correct

    def _num_parts(self, num_images: int) -> int:
        """Every part has an image, or two where there are batch norms, which could not take a single one."""
        if self._task.num_micro_batches == 1:
            return 1
        fewest = 2 if any(self._network.operations_of(*NORMS)) else 1
        return max(1, min(self._task.num_micro_batches, num_images // fewest))

    def _add_gradients(
        self, epoch: int, time_steps: int, images_BCHW: Tensor, targets: Tensor, indices_B: Tensor, *, share: float
    ) -> tuple[Tensor, Tensor]:
        """Run a part of a batch forward and backward: its share of the loss, and how many were right."""
        inputs = inputs_of(self._task.encoding, images_BCHW, indices_B, self._task.seed, "train", epoch)
        outputs_of = partial(self._readout.outputs, time_steps=time_steps, groups=self._task.time_groups)
        loss_of = self._loss_of(inputs, targets)
        if trainer := self._trainer_for(time_steps):
            loss, drive_TBK = trainer.gradients(
                inputs(0, 1)[0], outputs_of, lambda some_TBK, which: share * loss_of(some_TBK, which)
            )
            return loss, self._num_correct(drive_TBK, targets, time_steps)
        drive_TBK = self._forward(inputs, time_steps)
        outputs_TBK = outputs_of(drive_TBK)
        for observer in self._observers() if self._readout.neuron else ():
            observer.outputs(self._readout.layer, outputs_TBK)
        loss = loss_of(outputs_TBK, slice(None))
        if self._penalty:
            loss = loss + self._penalty.total(epoch)
        loss = loss * share if share < 1 else loss
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), self._num_correct(drive_TBK.detach(), targets, time_steps)

    def _loss_of(self, inputs: Inputs, targets: Tensor) -> LossOf:
        """The loss for some of these images, with what the teacher says of them if there is one."""
        task, distillation = self._task, self._task.distillation
        if distillation is None or self._teacher is None:
            return lambda outputs_TBK, which: task.loss(outputs_TBK, targets[which])
        with torch.no_grad():
            logits_BK = forward_torch(self._teacher, inputs(0, 1), 1, precision=distillation.precision).squeeze(0)

        def loss_of(outputs_TBK: Tensor, which: slice) -> Tensor:
            own = task.loss(outputs_TBK, targets[which])
            return (1 - distillation.weight) * own + distillation.weight * distillation.divergence(outputs_TBK, logits_BK[which])

        return loss_of

    def _forward(self, inputs: Inputs, time_steps: int) -> Tensor:
        """The output layer's drive."""
        return forward_torch(
            self._network,
            inputs(0, time_steps),
            time_steps,
            self._task.time_groups,
            self._observers(),
            precision=self._task.precision,
            until=self._readout.until,
        )

    def _observers(self) -> list[SpikePenalty | Pruner]:
        return [observer for observer in (self._penalty, self._pruner) if observer]

    def _num_correct(self, drive_TBK: Tensor, targets: Tensor, time_steps: int) -> Tensor:
        return (self._readout.classes(drive_TBK, time_steps) == likeliest(targets)).sum()


def most_kept_trainers(task: Task) -> int:
    """How many kernels, for as many numbers of time steps, are there at once in training."""
    return min(task.time_steps, MOST_KEPT_TRAINERS) if task.train_time_steps == "mixed" else 1


def needs_layer_observers(task: Task) -> str | None:
    """What has to see the spikes of every layer during training, such as spike penalties; None if nothing does."""
    if task.pruning and task.pruning.prune == "activation":
        return "pruning by activation"
    return "spike penalties" if task.regularisers and task.regularisers.penalise else None


def backend_request(task: Task, recipe: Recipe, input_shape: ImageShape, time_steps: int) -> BackendRequest:
    """How a task's network is run for ``time_steps`` on images of ``input_shape`` (height, width, channels)."""
    return BackendRequest(
        wanted=recipe.backend,
        input_map=input_shape[:2],
        time_steps=time_steps,
        constant_input=task.encoding == "constant",
        precision=task.precision,
    )


def batch_sizes(train: Split, recipe: Recipe) -> list[int]:
    """The sizes of an epoch's batches; a last one of a single image, which no batch norm could take, joins the one before."""
    whole, rest = divmod(len(train), recipe.batch_size)
    sizes = [recipe.batch_size] * whole + [rest] * (rest > 0)
    return [*sizes[:-2], sizes[-2] + 1] if rest == 1 and whole else sizes
