"""What may stand in a study file or a named space: the keys, their types, and what each of them means."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from search_spaces.language.designs import MOST_CELLS
from search_spaces.language.plain_values import read_plain
from search_spaces.language.rules import RuleError
from search_spaces.language.space import LARGEST_SEED, Level
from studies.label_texts import level_key
from studies.run_record import ACCURACY, Direction

MOST_TRIALS = 100_000
"""Of a search; more are a slip, and no ledger would be pleasant to look at."""
MOST_CONSTRAINTS = 100
MOST_LEVELS_IN_CONDITION = 1000
"""Every cell is compared with them."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class FileSection(BaseModel):
    """A mapping of the file; keys that are not declared are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Resources(FileSection):
    """What each replicate is given to train with."""

    cpus: float = Field(
        default=1.0, gt=0, description="CPU cores that each replicate gets; torch uses as many threads. Default: 1."
    )
    gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs that each replicate gets; 0.25 lets four replicates share one GPU. Default: where the cluster has "
        "GPUs, the share that the predicted memory needs; elsewhere none.",
    )
    memory_gib: float | None = Field(
        default=None, gt=0, description="Memory in GiB that each replicate's process gets. Default: as much as is predicted."
    )


class Budget(FileSection):
    """When a study stops, whatever is left of it; with a larger budget it goes on from there."""

    replicates: int | None = Field(
        default=None, ge=1, description="The study stops after this many replicates, e.g. 100, counted over all its runs."
    )
    hours: float | None = Field(
        default=None, gt=0, description="The study stops after this many hours, e.g. 12, counted over all its runs."
    )
    gpu_hours: float | None = Field(
        default=None,
        gt=0,
        description="The study stops once its replicates have used GPUs for this many hours: two GPUs for an hour are 2.",
    )


class Placements(FileSection):
    """All layouts with the same convolutions and with pools in different places."""

    convolutions: str = Field(
        description='The layout without its pools: the channels of each convolution, e.g. "64 64 128 256 512". Fully connected '
        "layers (F128) may end it, and before them G, a global average pool."
    )
    pools: int | list[int] = Field(
        description="How many pools a layout has, e.g. 3; a list such as [2, 3] gives the layouts with two and those with three."
    )
    kinds: list[Literal["M", "A", "S"]] = Field(
        default=["M"],
        description="Kinds of pools: M is a max pool, A an average pool, S a stride of 2 in the convolution before it. "
        "Default: [M].",
    )
    mixed: bool = Field(
        default=False, description="Whether one layout may have pools of different kinds. Default: false, all are of one kind."
    )
    smallest_map: int = Field(
        default=1,
        ge=1,
        description="The smallest side, in pixels, that a layout's last feature map may have, the one that G averages; other "
        "layouts are left out. Default: 1.",
    )


class FactorSpec(FileSection):
    """A factor with more to say than a list of levels: exactly one of levels, low and high, or layouts."""

    levels: list[Level] | None = Field(
        default=None, description="The levels of the factor, e.g. [2, 4, 8]; without a condition the list can stand by itself."
    )
    low: float | None = Field(default=None, description="The smallest value of a range, e.g. 1e-4; needs high.")
    high: float | None = Field(default=None, description="The largest value of a range, e.g. 1e-1; needs low.")
    log: bool = Field(
        default=False,
        description="Whether values of the range are drawn on a logarithmic scale, as suits learning rates. Default: false.",
    )
    step: float | None = Field(
        default=None,
        description="The distance between neighbouring values of the range, e.g. 0.25. Default: none, all numbers of the range "
        "are possible (all whole numbers, of a field that takes no others).",
    )
    layouts: Placements | None = Field(
        default=None,
        description="For the factor layout: its levels are all layouts with these convolutions and numbers of pools.",
    )
    when: dict[str, Level | Annotated[list[Level], Field(max_length=MOST_LEVELS_IN_CONDITION)]] = Field(
        default_factory=dict,
        description="The conditions of the factor: it exists only where each of these other factors has this level, or one of "
        "these, e.g. {gradient: surrogate}.",
    )


def _kind_of_factor(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping"


FactorEntry = Annotated[
    Annotated[list[Level], Tag("list")] | Annotated[FactorSpec, Tag("mapping")], Discriminator(_kind_of_factor)
]
"""A factor as the file has it: ``[2, 4]``, or a mapping with more to say."""


def _auto(value: Any) -> Any:
    return {} if value == "auto" else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def level_of_key(key: str) -> Level:
    """The level that a key of the file means: 0.001 of ``1e-3``."""
    try:
        return read_plain(key)
    except RuleError:
        return key


LONGEST_LABEL = 80
Label = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL)]


class Labels(FileSection):
    """What a factor and its levels are called in tables and figures; a text alone is the name of the factor."""

    name: Label | None = Field(
        default=None, description="What the factor, or the metric, is called, e.g. $T$ or time steps. Default: its own name."
    )
    levels: dict[str, Label] = Field(
        default_factory=dict,
        description="What levels of the factor are called, e.g. {64 64 M 128 M: late pools}. Default: as they are written.",
    )


class NamedChoice(BaseModel):
    """A sampler or pruner by name, with the arguments that Optuna's class of that kind takes."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    name: str = Field(description="The name of the sampler or pruner; the other keys are its arguments, as Optuna calls them.")


NameOrMapping = Annotated[NamedChoice, BeforeValidator(_named)]
"""A sampler or pruner as the file has it: ``tpe``, or ``{name: tpe, n_startup_trials: 20}``."""

LabelEntry = Annotated[Labels, BeforeValidator(_named)]
"""The label of a factor or metric as the file has it: ``$T$``, or ``{name: $T$, levels: {2: two}}``."""


class Limit(FileSection):
    """The bounds of a metric: at_most, at_least or both."""

    at_most: float | None = Field(default=None, description="The metric must not be larger than this, e.g. 1.")
    at_least: float | None = Field(default=None, description="The metric must not be smaller than this, e.g. 0.9.")


class OneFactorAtATime(FileSection):
    """The baseline, and every other level of each factor while the other factors stay at the baseline."""

    name: Literal["one_factor_at_a_time"]


class LeaveOneOut(FileSection):
    """The baseline, in which all components are on, and for each component a cell in which it alone is off."""

    name: Literal["leave_one_out"]


class FullFactorial(FileSection):
    """All combinations of levels."""

    name: Literal["full_factorial"]


class FractionalFactorial(FileSection):
    """Of factors with two levels, the fewest combinations that keep effects apart as the resolution says; with factors of more
    levels these are crossed.
    """

    name: Literal["fractional_factorial"]
    resolution: int = Field(
        default=4,
        ge=3,
        description="Which effects are kept apart. 3: main effects are clear of each other; 4: of two-factor interactions, too; "
        "5: two-factor interactions are clear of each other, too. Default: 4.",
    )


class RandomDesign(FileSection):
    """Different combinations of levels, drawn at random."""

    name: Literal["random"]
    num_cells: int = Field(ge=1, le=MOST_CELLS, description="How many combinations are drawn, e.g. 20.")
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        description="Decides which combinations are drawn; the same seed draws the same ones. Default: 0.",
    )


class AdaptiveSearch(FileSection):
    """Optuna proposes one configuration after another, each in the light of the results so far."""

    name: Literal["adaptive_search"]
    num_trials: int = Field(ge=1, le=MOST_TRIALS, description="How many configurations the search tries, e.g. 100.")
    sampler: NameOrMapping = Field(
        default=NamedChoice(name="tpe"),
        description="The algorithm that proposes configurations: tpe, nsga2, gp, cma_es, random or qmc; or a mapping with "
        "arguments of Optuna's, e.g. {name: tpe, n_startup_trials: 20}. Default: tpe.",
    )
    objectives: dict[str, Direction] = Field(
        default={ACCURACY: "maximize"},
        min_length=1,
        description="Metrics and their directions, e.g. {val/accuracy: maximize, sparsity/overall: maximize}. The first one is "
        "the primary objective. Default: {val/accuracy: maximize}.",
    )
    limits: dict[str, Limit] = Field(
        default_factory=dict,
        description="Metrics that must stay within bounds, e.g. {spikes_per_neuron/overall: {at_most: 1}}. Configurations that "
        "break one are no candidates for the best.",
    )
    pruner: NameOrMapping | None = Field(
        default=None,
        description="The rule that stops configurations early if they fall behind on the primary objective: median, percentile, "
        "successive_halving, hyperband, threshold or patient; or a mapping with arguments of Optuna's. Default: none, all are "
        "trained to the end.",
    )
    seeds_per_trial: int = Field(
        default=1, ge=1, description="How many of the study's seeds each configuration is tried with. Default: 1."
    )
    converged_after: int | None = Field(
        default=None,
        ge=1,
        description="The search ends early after this many configurations in a row that were no better than all before them "
        "(with several objectives: not on the Pareto front). Default: never.",
    )
    finalists: int = Field(
        default=0,
        ge=0,
        description="How many of the best configurations are trained in the end with the seeds that did not choose them. "
        "Default: 0.",
    )
    warm_start: list[str] = Field(
        default_factory=list,
        description="Earlier studies in the same MLflow store, by name: the sampler learns from their runs, where they match.",
    )


Design = Annotated[
    Annotated[
        OneFactorAtATime | LeaveOneOut | FullFactorial | FractionalFactorial | RandomDesign | AdaptiveSearch,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
"""A design as the file has it: ``full_factorial``, or ``{name: random, num_cells: 20}``."""

DESIGNS: Mapping[str, type[FileSection]] = {
    "one_factor_at_a_time": OneFactorAtATime,
    "leave_one_out": LeaveOneOut,
    "full_factorial": FullFactorial,
    "fractional_factorial": FractionalFactorial,
    "random": RandomDesign,
    "adaptive_search": AdaptiveSearch,
}
DESIGN_NAMES = tuple(DESIGNS)


class Tuning(FileSection):
    """Nuisance hyperparameters, tuned for each cell by itself, so that no level is judged at values that suit another one."""

    parameters: dict[str, FactorEntry] = Field(
        min_length=1, description="What is tuned: fields with their values, written like factors, e.g. {lr: [1e-3, 1e-2]}."
    )
    num_trials: int = Field(ge=1, le=MOST_TRIALS, description="How many values are tried in each cell, e.g. 10.")
    sampler: NameOrMapping = Field(
        default=NamedChoice(name="tpe"),
        description="The algorithm that proposes values, as in the design adaptive_search. Default: tpe.",
    )
    seed: int = Field(
        default=1000,
        ge=0,
        le=LARGEST_SEED,
        description="The seed that values are tried with; it must not be one of the study's seeds. Default: 1000.",
    )


class SpaceFile(FileSection):
    """A file of search_spaces: what may vary, for studies to take over by its name."""

    baseline: dict[str, Level] = Field(
        default_factory=dict,
        description="The reference level of each factor, e.g. {time_steps: 8}, with which its other levels are compared. Designs "
        "random and adaptive_search need none.",
    )
    factors: dict[str, FactorEntry] = Field(
        default_factory=dict,
        description="What varies: fields of the trainable's config, or trainable itself, each with a list of levels, e.g. "
        "{time_steps: [4, 8, 16]}, or with a mapping that gives a range, layouts or conditions.",
    )
    constraints: list[str] = Field(
        default_factory=list,
        max_length=MOST_CONSTRAINTS,
        description="What every configuration keeps: expressions over fields, num_parameters, operations_per_image, "
        "training_operations, memory_bytes and cpu_memory_bytes, e.g. "
        '"time_steps * feature_scale <= 4". Cells that break one are left out.',
    )


class StudyFile(SpaceFile):
    """A study file: one question, and what is trained to answer it."""

    @property
    def digest(self) -> str:
        """What tells versions of a file apart."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def values_of(self, name: str, shared: Mapping[str, Any]) -> list[Any]:
        """The values that a field has in the study: as a factor, tuned, or in what all cells share; none if not given."""
        entries = [*([self.tuning.parameters.get(name)] if self.tuning else []), self.factors.get(name)]
        levels = [entry if isinstance(entry, list) else entry.levels or [] for entry in entries if entry is not None]
        return [level for some in levels for level in some] or ([shared[name]] if name in shared else [])

    @property
    def labels_by_key(self) -> dict[str, str]:
        """What factors and metrics are called in print, by name, and levels, by ``label_texts.level_key``."""
        found = {name: entry.name for name, entry in self.labels.items() if entry.name is not None}
        levels = ((name, *pair) for name, entry in self.labels.items() for pair in entry.levels.items())
        return found | {level_key(name, level_of_key(level)): label for name, level, label in levels}

    name: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        max_length=100,
        description="The study's name in the ledger and in MLflow: letters, digits, _ and -. Default: the name of the file.",
    )
    question: str = Field(
        min_length=1, description="The question that the study answers, in one sentence; reports and MLflow show it."
    )
    trainable: str | None = Field(
        default=None,
        description="What one replicate trains: a module of trainables, e.g. bitnet. Leave it out where trainable is a factor.",
    )
    preset: str | None = Field(
        default=None,
        description="Values for the config that the trainable offers under a name, e.g. those of a published network; config and "
        "factors override them. spikesweep list --presets says where each is from. Default: none.",
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of the trainable's config that are the same for all replicates, e.g. {data: mnist, epochs: 20}. The "
        "others have the trainable's defaults.",
    )
    search_space: str | None = Field(
        default=None,
        description="A file of search_spaces, by name: the study takes over its baseline, factors and constraints, and may add "
        "or override some. Default: none.",
    )
    design: Design = Field(
        default=OneFactorAtATime(name="one_factor_at_a_time"),
        description="Which combinations of levels are trained: "
        + ", ".join(DESIGN_NAMES)
        + "; or a mapping with a name and options, e.g. {name: random, num_cells: 20}. Default: one_factor_at_a_time.",
    )
    tuning: Tuning | None = Field(
        default=None,
        description="Nuisance hyperparameters, such as the learning rate, that are tuned for each cell by itself. Default: none.",
    )
    primary_outcome: str | None = Field(
        default=None,
        description="The metric that the study is about, e.g. val/accuracy, test/accuracy or ops/energy_pj: its differences are "
        "the report's confirmatory claims, over which the error is held; all other claims are exploratory. Decide on it before "
        "anything is trained. Default: val/accuracy; of an adaptive search its first objective.",
    )
    seeds: int | list[int] = Field(
        description="How many seeds (10 stands for 0 to 9), or a list such as [3, 5, 7]. Every cell is trained with each of them."
    )
    seed_sd: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The accuracy's standard deviation over seeds, as a fraction, e.g. 0.01; check computes from it how small an "
        "effect on accuracy the study can detect. Default: measured, once there are runs.",
    )
    labels: dict[str, LabelEntry] = Field(
        default_factory=dict,
        description="What factors, their levels and metrics are called in the tables and figures of the report, e.g. "
        "{time_steps: $T$, val/accuracy: accuracy}. Between dollars stand mathematics as LaTeX writes them: letters, Greek "
        "letters, indices. Default: their own names.",
    )
    resources: Annotated[Resources, BeforeValidator(_auto)] = Field(
        default_factory=Resources,
        description="What one replicate is given: auto, or a mapping with cpus, gpus and memory_gib. Default: auto.",
    )
    budget: Budget | None = Field(
        default=None,
        description="When the study stops: a mapping with replicates, hours or gpu_hours. With a larger budget it goes on later. "
        "Default: it stops when all is done.",
    )
    deadline_s: float = Field(
        default=43_200.0,
        gt=0,
        description="After this many seconds without a report, a replicate counts as hanging: its process is ended, and another "
        "one goes on from its checkpoint. Default: 43200, twelve hours.",
    )
    log_models: bool = Field(
        default=True,
        description="Whether each replicate's trained network is logged in MLflow, from where it can be loaded and served. Its "
        "weights are then kept beside its reports, too. Default: true.",
    )
    storage: str = Field(
        default="results",
        description="The folder of the ledger, the MLflow store, checkpoints and reports; or where checkpoints lie in an object "
        "store, e.g. s3://bucket/folder. Default: results.",
    )
    ledger: str | None = Field(
        default=None,
        description="The SQLAlchemy URL of a database for the ledger, e.g. postgresql+psycopg://user@host/name, or the path of a "
        "file. Default: a file in storage.",
    )
    experiment: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The MLflow experiment of the study, which several studies may share. Default: the study's name.",
    )
    log_system_metrics: bool = Field(
        default=False,
        description="Whether the use of CPUs, memory and GPUs is recorded for each epoch of a replicate. Default: false.",
    )
    tracking_uri: str | None = Field(
        default=None,
        description="The MLflow store, e.g. http://host:5000. Default: $MLFLOW_TRACKING_URI, or else a file in storage.",
    )
