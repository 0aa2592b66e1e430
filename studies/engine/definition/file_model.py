"""What may stand in a study file or a named space: the keys, their types, and what each of them means."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from search_spaces.language.space import LARGEST_SEED, Level
from studies.run_record import ACCURACY, Direction

MOST_TRIALS = 100_000
"""Of a search; more are a slip, and no ledger would be pleasant to look at."""
MOST_CELLS = 10_000
"""Of a design: every one of them is looked at before anything runs."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class FileSection(BaseModel):
    """A mapping of the file; keys that are not declared are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Resources(FileSection):
    """What one replicate is given."""

    cpus: float = Field(default=1.0, gt=0, description="CPU cores for one replicate; torch uses as many threads.")
    gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs for one replicate; 0.25 lets four share one. Unless given: where the cluster has GPUs, the share that "
        "the predicted memory needs.",
    )
    memory_gib: float | None = Field(
        default=None, gt=0, description="Memory of one replicate's process in GiB; what is predicted, unless given."
    )


class Budget(FileSection):
    """After what a study stops; a larger one lets it go on."""

    replicates: int | None = Field(default=None, ge=1, description="So many replicates are begun, in all.")
    hours: float | None = Field(default=None, gt=0, description="Hours that the study has run, in all.")
    gpu_hours: float | None = Field(default=None, gt=0, description="Hours of GPUs that its replicates have had, in all.")


class Placements(FileSection):
    """All ways to put pools among convolutions."""

    convolutions: str = Field(description='The layout without its pools, e.g. "64 64 128 256 512".')
    pools: int | list[int] = Field(description="How many pools, e.g. 3, or [2, 3] for two or three.")
    kinds: list[Literal["M", "A", "S"]] = Field(
        default=["M"], description="Kinds of pools: M max, A average, S a stride of the convolution before it."
    )
    mixed: bool = Field(default=False, description="Whether one layout may have pools of several kinds.")
    smallest_map: int = Field(default=1, ge=1, description="The smallest side that the last map may have.")


class FactorSpec(FileSection):
    """What a factor may be where a list of levels does not say enough; exactly one of levels, low and high, or layouts."""

    levels: list[Level] | None = Field(default=None, description="The values.")
    low: float | None = Field(default=None, description="The smallest value of a range.")
    high: float | None = Field(default=None, description="The largest value of a range.")
    log: bool = Field(default=False, description="Whether the range is searched on a logarithmic scale.")
    step: float | None = Field(default=None, description="The distance between values of a range; none for all of them.")
    layouts: Placements | None = Field(default=None, description="All placements of pools among convolutions.")
    when: dict[str, Level | list[Level]] = Field(
        default_factory=dict, description="The factor exists only where these other factors have this value, or one of these."
    )


def _kind_of_factor(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping"


FactorEntry = Annotated[
    Annotated[list[Level], Tag("list")] | Annotated[FactorSpec, Tag("mapping")], Discriminator(_kind_of_factor)
]
"""``[2, 4]``, or a mapping with more to say."""


def _auto(value: Any) -> Any:
    return {} if value == "auto" else value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class NamedChoice(BaseModel):
    """A sampler or pruner by name, with its arguments; which ones there are is Optuna's matter."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    name: str = Field(description="Its name.")


NameOrMapping = Annotated[NamedChoice, BeforeValidator(_named)]
"""``tpe``, or ``{name: tpe, n_startup_trials: 20}``."""


class Limit(FileSection):
    """Bounds of a metric."""

    at_most: float | None = Field(default=None, description="The metric must not be larger.")
    at_least: float | None = Field(default=None, description="The metric must not be smaller.")


class OneFactorAtATime(FileSection):
    """The baseline, and every other level of each factor with the others at their baseline."""

    name: Literal["one_factor_at_a_time"]


class LeaveOneOut(FileSection):
    """All components on (the baseline), and each one off alone."""

    name: Literal["leave_one_out"]


class FullFactorial(FileSection):
    """All combinations of levels."""

    name: Literal["full_factorial"]


class FractionalFactorial(FileSection):
    """The fewest combinations of two levels each that keep apart what the resolution promises."""

    name: Literal["fractional_factorial"]
    resolution: int = Field(
        default=4,
        ge=3,
        description="3: main effects are clear of each other; 4: of two-factor interactions too; 5: so are those of each other.",
    )


class RandomDesign(FileSection):
    """Distinct combinations drawn at random."""

    name: Literal["random"]
    num_cells: int = Field(ge=1, le=MOST_CELLS, description="How many.")
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Decides which.")


class AdaptiveSearch(FileSection):
    """Configurations that Optuna proposes in the light of those before."""

    name: Literal["adaptive_search"]
    num_trials: int = Field(ge=1, le=MOST_TRIALS, description="How many configurations to try.")
    sampler: NameOrMapping = Field(
        default=NamedChoice(name="tpe"),
        description="tpe, nsga2, gp, cma_es, random or qmc, or {name: …} with Optuna's own arguments.",
    )
    objectives: dict[str, Direction] = Field(
        default={ACCURACY: "maximize"}, min_length=1, description="Metrics and their directions; the first is the primary one."
    )
    limits: dict[str, Limit] = Field(
        default_factory=dict, description="Metrics that must keep within bounds, e.g. {spikes_per_neuron/overall: {at_most: 1}}."
    )
    pruner: NameOrMapping | None = Field(
        default=None,
        description="Stops what falls behind on the primary objective: median, percentile, successive_halving, hyperband, …",
    )
    seeds_per_trial: int = Field(default=1, ge=1, description="With how many of the seeds each configuration is tried.")
    converged_after: int | None = Field(
        default=None,
        ge=1,
        description="The search ends once so many trials in a row were no better than all before them (not on the Pareto front, "
        "with several objectives).",
    )
    finalists: int = Field(
        default=0, ge=0, description="How many of the best are trained with the other seeds too, which did not select them."
    )
    warm_start: list[str] = Field(
        default_factory=list, description="Earlier studies in the same MLflow store whose matching runs the sampler learns from."
    )


Design = Annotated[
    Annotated[
        OneFactorAtATime | LeaveOneOut | FullFactorial | FractionalFactorial | RandomDesign | AdaptiveSearch,
        Field(discriminator="name"),
    ],
    BeforeValidator(_named),
]
"""``full_factorial``, or ``{name: random, num_cells: 20}``."""

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
    """Nuisance hyperparameters, tuned anew for every cell, so that no level is judged by values that suit another."""

    parameters: dict[str, FactorEntry] = Field(min_length=1, description="What is tuned, e.g. {lr: [1e-3, 3e-3, 1e-2]}.")
    num_trials: int = Field(ge=1, le=MOST_TRIALS, description="How many values are tried in every cell.")
    sampler: NameOrMapping = Field(default=NamedChoice(name="tpe"), description="As of adaptive_search.")
    seed: int = Field(
        default=1000, ge=0, le=LARGEST_SEED, description="The seed that they are tried with; none of the study's seeds."
    )


class SpaceFile(FileSection):
    """A named space: what may vary, for studies to include."""

    baseline: dict[str, Level] = Field(default_factory=dict, description="The reference level of every factor.")
    factors: dict[str, FactorEntry] = Field(
        default_factory=dict,
        description="What varies: fields of the trainable's config, or trainable itself, with levels, a range or layouts.",
    )
    constraints: list[str] = Field(
        default_factory=list,
        description="What every configuration keeps: expressions over fields, num_parameters, memory_bytes and "
        'operations_per_image, e.g. "time_steps * feature_scale <= 4".',
    )


class StudyFile(SpaceFile):
    """A study file: one question, in YAML."""

    @property
    def digest(self) -> str:
        """What tells versions of a file apart."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    name: str | None = Field(
        default=None,
        pattern=NAME_PATTERN,
        max_length=100,
        description="The study's name in the ledger and in MLflow; the file's own name unless given.",
    )
    question: str = Field(min_length=1, description="What the study answers, in a sentence.")
    trainable: str | None = Field(
        default=None, description="What one replicate trains: a module of trainables; left out where it is a factor."
    )
    preset: str | None = Field(
        default=None, description="A preset of the trainable: values of its config, which config and factors override."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Fields of the trainable's config that all replicates share."
    )
    search_space: str | None = Field(
        default=None, description="A named space from search_spaces; baseline, factors and constraints here add to its own."
    )
    design: Design = Field(
        default=OneFactorAtATime(name="one_factor_at_a_time"),
        description="Which combinations of levels are trained: " + ", ".join(DESIGN_NAMES) + "; {name: …} with its options.",
    )
    tuning: Tuning | None = Field(default=None, description="Nuisance hyperparameters that every cell is tuned for by itself.")
    seeds: int | list[int] = Field(description="How many seeds (0, 1, …), or which; every cell is trained with the same ones.")
    seed_sd: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The accuracy's standard deviation over seeds, as a fraction, for check; else measured.",
    )
    resources: Annotated[Resources, BeforeValidator(_auto)] = Field(
        default_factory=Resources, description="What one replicate is given: auto, or cpus, gpus and memory_gib."
    )
    budget: Budget | None = Field(
        default=None, description="After what the study stops: replicates, hours, gpu_hours; a larger budget lets it go on."
    )
    deadline_s: float = Field(
        default=43_200.0,
        gt=0,
        description="A replicate that reports nothing for so many seconds is taken to hang: its process is ended, and another "
        "goes on from its checkpoint.",
    )
    log_models: bool = Field(
        default=True,
        description="Whether each replicate's trained network is logged in MLflow, to be loaded and served; its weights are then "
        "kept beside its reports, too.",
    )
    storage: str = Field(
        default="results",
        description="Folder of ledgers, MLflow store, checkpoints, reports; or where checkpoints lie in an object store, e.g. "
        "s3://bucket/folder.",
    )
    ledger: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger's database, or the path of its file; a file in storage unless given.",
    )
    experiment: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="MLflow's experiment, which the studies of a family share; the study's name unless given.",
    )
    log_system_metrics: bool = Field(
        default=False,
        description="Whether the use of CPUs, memory and GPUs while a replicate trains is recorded, epoch by epoch.",
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow's store; $MLFLOW_TRACKING_URI or a file in storage unless given."
    )
