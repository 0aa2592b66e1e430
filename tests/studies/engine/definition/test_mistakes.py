"""What is said of every mistake in a study file: place, rule, value, repair, each mistake once, all at once."""

# ruff: noqa: E501  # tables read better in rows

from pathlib import Path

import pytest

from studies.engine.definition import lookup
from studies.engine.definition.loading import load_study
from studies.engine.errors import Problem, StudyError

SURFACE = """\
question: Which?
trainable: response_surface
config: {epochs: 2}
baseline: {a: 0, b: 0, variant: plain, peak_width: 1}
factors:
  a: [-1, 0, 1]
  b: [0, 1]
  variant: [plain, peaked]
  peak_width: {levels: [0.5, 1], when: {variant: peaked}}
constraints:
  - a + b <= 1.5
design: full_factorial
seeds: 6
"""

SEARCH = """\
question: Which?
trainable: response_surface
factors:
  a: {low: -1, high: 1}
  b: {low: 0.1, high: 1, log: true}
  c: {low: -1, high: 1, step: 0.25}
design:
  name: adaptive_search
  num_trials: 50
  sampler: {name: tpe, n_startup_trials: 5}
  objectives: {val/accuracy: maximize, sparsity/overall: maximize}
  limits: {spikes_per_neuron/overall: {at_most: 2.4}}
  pruner: {name: median, n_warmup_steps: 2}
  seeds_per_trial: 2
  finalists: 3
seeds: 6
"""

TUNED = """\
question: Which?
baseline: {trainable: ann, time_steps: 8, layout: 64 M 64}
config: {data: digits, validation_fraction: 0.25, feature_scale: 0.125}
factors:
  trainable: [ann, bitnet, converted_snn]
  time_steps: [8, 32]
  layout:
    layouts: {convolutions: 64 64, pools: 1, kinds: [M, A]}
tuning:
  parameters: {lr: [0.001, 0.01]}
  num_trials: 2
seeds: 3
seed_sd: 0.01
resources: {cpus: 2}
"""


def problems_of(path: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(StudyError) as caught:
        load_study(str(path), overrides)
    return list(caught.value.problems)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [SURFACE, SEARCH, TUNED])
def test_the_studies_without_mistakes(text: str, tmp_path: Path) -> None:
    """Nothing is wrong with what the mistakes are made in."""
    assert load_study(str(written(tmp_path, text))).question == "Which?"


FACTORS = [
    ("a: [-1, 0, 1]", "a: {levels: [0, 1], low: 0, high: 1}", "6 factors.a", "either levels, or low and high, or layouts", "levels, low, high", "keep one"),
    ("a: [-1, 0, 1]", "a: {high: 1}", "6 factors.a", "a range must have low and high", "no low", "add low"),
    ("a: [-1, 0, 1]", "a: {}", "6 factors.a", "either levels, or low and high, or layouts", "none of them", "add one"),
    ("a: [-1, 0, 1]", "a: {levels: [0, 1], log: true}", "6 factors.a.log", "log and step belong to a range", "levels with log", "leave out log"),
    ("a: [-1, 0, 1]", "a: {levels: [0, 1], step: 1}", "6 factors.a.step", "log and step belong to a range", "levels with step", "give low and high"),
    ("a: [-1, 0, 1]", "a: {low: 0, high: 1, step: 0.3}", "6 factors.a.step", "step must divide high - low", "step=0.3", "change factors.a.step"),
    ("a: [-1, 0, 1]", "a: {low: 0, high: 1, step: 0.25, log: true}", "6 factors.a.low", "low must be positive on a log scale", "low=0.0", "change"),
    ("a: [-1, 0, 1]", "a: {low: 0.5, high: 1, step: 0.25, log: true}", "6 factors.a.step", "a log scale or a step, not both", "step=0.25", "change"),
    ("a: [-1, 0, 1]", "a: {low: 1, high: 0}", "6 factors.a", "low must be less than high", "low=1.0, high=0.0", "change"),
    ("a: [-1, 0, 1]", "a: {low: 0, high: 3}", "6 factors.a.high", "a must be at most 1", "3", "higher is more accurate"),
    ("a: [-1, 0, 1]", "a: {low: 0, high: .inf}", "6 factors.a.high", "must be a finite number", "inf", "largest value of a range"),
    ("a: [-1, 0, 1]", "a: {low: 0, hihg: 1}", "6 factors.a.hihg", "a key must be one that factors.a has", "'hihg'", "did you mean high?"),
    ("a: [-1, 0, 1]", "a: {low: zero, high: 1}", "6 factors.a.low", "must be a number", "'zero'", "smallest value"),
    ("a: [-1, 0, 1]", "a: [-1, [0], 1]", "6 factors.a[1]", "must be true or false, a number, a text or null", "[0]", "change it"),
    ("a: [-1, 0, 1]", "a: text", "6 factors.a", "must be a list of levels, or a mapping", "'text'", "What varies"),
    ("a: [-1, 0, 1]", "a: null", "6 factors.a", "must be a list of levels, or a mapping", "None", "What varies"),
    ("a: [-1, 0, 1]", "a: []", "6 factors.a", "at least 2 distinct levels", "[]", "add a level"),
    ("a: [-1, 0, 1]", "a: [0]", "6 factors.a", "at least 2 distinct levels", "[0]", "fix a in config"),
    ("a: [-1, 0, 1]", "a: [-1, 0, 0.0]", "6 factors.a", "two spellings of one value are one level", "[-1, 0, 0.0]", "remove the repeated"),
    ("a: [-1, 0, 1]", "a: [-1, 0, big]", "6 factors.a[2]", "a must be a number", "'big'", "higher is more accurate"),
    ("variant: [plain, peaked]", "variant: {low: 0, high: 1}", "8 factors.variant", "a range must be of a number, and variant is none", "0 to 1", "give its levels"),
    ("variant: [plain, peaked]", "variant: [plain, peakd]", "8 factors.variant[1]", "'plain', 'peaked' or 'steep'", "'peakd'", "A choice"),
    ("a: [-1, 0, 1]", "a: [-1, 0, 1]\n  nois: [0, 1]", "7 factors.nois", "a factor must be a field of trainable response_surface", "nois", "did you mean noise?"),
    ("a: [-1, 0, 1]", "a: {layouts: {convolutions: 64 64, pools: 1}}", "6 factors.a.layouts", "only the factor layout may have layouts", "a", "give levels"),
    ("when: {variant: peaked}", "when: {varian: peaked}", "9 factors.peak_width.when.varian", "a condition must name a factor", "varian", "did you mean variant?"),
    ("when: {variant: peaked}", "when: {variant: steep}", "9 factors.peak_width.when.variant", "levels that variant can have", "steep", "['plain', 'peaked']"),
    ("when: {variant: peaked}", "when: {variant: []}", "9 factors.peak_width.when.variant", "at least one level", "none", "choose one of"),
    ("when: {variant: peaked}", "when: {peak_width: 1}", "9 factors.peak_width.when", "conditions must not go in a circle", "peak_width on peak_width", "change"),
    ("variant: [plain, peaked]", "variant: {levels: [plain, peaked], when: {peak_width: 1}}", "8 factors.variant.when", "must not go in a circle", "variant on peak_width on variant", "change"),
    ("a: [-1, 0, 1]", "a: {levels: [0, 1], when: {b: 1, peak_width: 1, variant: plain}}", "6 factors.a.when", "a condition must be able to hold", "variant", "change"),
    ("{levels: [0.5, 1], when: {variant: peaked}}", "[0.5, 1]", "9 factors.peak_width", "cells must differ in what is trained; these levels of peak_width make no difference", "peak_width=0.5", "under which it matters"),
    ("when: {variant: peaked}", "when: variant", "9 factors.peak_width.when", "must be a mapping", "'variant'", "exists only where"),
    ("baseline: {a: 0, ", "baseline: {a: 0.5, ", "4 baseline.a", "one of the factor's levels", "0.5", "[-1.0, 0.0, 1.0]"),
    ("baseline: {a: 0, ", "baseline: {a: [0], ", "4 baseline.a", "must be true or false, a number, a text or null", "[0]", "reference level"),
    ("baseline: {a: 0, ", "baseline: {c: 0, a: 0, ", "4 baseline.c", "every name under baseline must be a factor", "c", "add it to factors"),
    ("baseline: {a: 0, ", "baseline: {", "6 factors.a", "every factor must have a baseline level", "none", "{a: …}"),
    ("config: {epochs: 2}", "config: {epochs: 2, a: 0}", "3 config.a", "either fixed in config or a factor", "a", "remove one"),
    ("config: {epochs: 2}", "config: {epochs: 1e30}", "3 config.epochs", "must be a whole number", "1e+30", "How many reports"),
    ("config: {epochs: 2}", "config: {epochs: 1000000000000000000000000000000}", "3 config.epochs", "up to 2**53", "1000", "How many reports"),
    ("config: {epochs: 2}", "config: {data: digits}", "3 config.data", "data must be none", "'digits'", "change config.data"),
    ("config: {epochs: 2}", "config: [epochs]", "3 config", "must be a mapping", "['epochs']", "Fields of the trainable"),
    ("config: {epochs: 2}", "preset: BITnet6", "3 preset", "preset must be one that trainable response_surface has", "BITnet6", "leave it out: it has none"),
    ("factors:\n", "factors:\n  - 3\nconfigg:\n", "6 factors", "must be a mapping", "[3]", "What varies"),
]  # fmt: skip

CONSTRAINTS = [
    ("a + b <= 1.5", "a + b <= ", "11 constraints[0]", "a constraint must be an expression like", "invalid syntax", "time_steps * feature_scale"),
    ("a + b <= 1.5", "a + bb <= 1.5", "11 constraints[0]", "must be a field, or something known before training", "bb", "num_parameters"),
    ("a + b <= 1.5", "a + variannt <= 1.5", "11 constraints[0]", "must be a field, or something known before training", "variannt", "did you mean variant?"),
    ("a + b <= 1.5", "a + b", "11 constraints[0]", "true or false, like a comparison", "`a + b`", "e.g."),
    ("a + b <= 1.5", "pow(a, b) <= 1", "11 constraints[0]", "may be called", "`pow(a, b)`", "e.g."),
    ("a + b <= 1.5", "a.real <= 1", "11 constraints[0]", "a constraint is made of", "`a.real`", "e.g."),
    ("a + b <= 1.5", "1 / a <= 1", "11 constraints[0]", "arithmetic must have a result", "division by zero", "change the constraint"),
    ("a + b <= 1.5", "variant <= 1", "11 constraints[0]", "only two numbers or two texts can be compared", "'plain' and 1", "change the constraint"),
    ("a + b <= 1.5", "a + b > 100", "11 constraints[0]", "at least one cell must keep the constraints", "none of 18 does", "loosen it"),
    ("a + b <= 1.5", "a + b > 0", "4 baseline", "the baseline must keep the constraints", "breaks a + b > 0", "change the baseline"),
    ("a + b <= 1.5", "variant != 'peaked' or a > 0", "4 baseline", "the cell that peak_width is compared with must keep", "breaks variant", "change"),
    ("- a + b <= 1.5", "a + b <= 1.5", "11 constraints", "must be a list", "'a + b <= 1.5'", "What every configuration keeps"),
    ("- a + b <= 1.5", "- 3", "11 constraints[0]", "must be text", "3", "What every configuration keeps"),
    ("a + b <= 1.5", "(" * 60 + "a" + ")" * 60 + " < " + "-" * 60 + "1", "11 constraints[0]", "nested less than 50 deep", "a deeper one", "e.g."),
    ("a + b <= 1.5", "a" + " + a" * 200 + " < 1", "11 constraints[0]", "at most 500 characters", "805", "e.g."),
    ("a + b <= 1.5", "num_parameters > 0", "11 constraints[0]", "at least one cell must keep the constraints", "none of 18", "loosen it"),
]  # fmt: skip

DESIGNS = [
    ("design: full_factorial", "design: full_factorail", "12 design", "design must be one that exists", "'full_factorail'", "did you mean full_factorial?"),
    ("design: full_factorial", "design: {name: latin}", "12 design", "design must be one that exists", "'latin'", "possible: one_factor"),
    ("design: full_factorial", "design: {resolution: 3}", "12 design", "a design must have a name", "'resolution': 3", "add name"),
    ("design: full_factorial", "design: {name: [full]}", "12 design", "design must be one that exists", "['full']", "possible"),
    ("design: full_factorial", "design: [full_factorial]", "12 design", "must be a name, or a mapping with one", "['full_factorial']", "Which combinations"),
    ("design: full_factorial", "design: null", "12 design", "must be a name, or a mapping with one", "None", "Which combinations"),
    ("design: full_factorial", "design: {name: full_factorial, resolution: 4}", "12 design.resolution", "a key must be one that design full_factorial has", "'resolution'", "possible: name"),
    ("design: full_factorial", "design: {name: random, num_cels: 4}", "12 design.num_cels", "design random has", "'num_cels'", "did you mean num_cells?"),
    ("design: full_factorial", "design: random", "12 design.num_cells", "this key must be given", "nothing", "add it. What belongs here: How many"),
    ("design: full_factorial", "design: {name: random, num_cells: 0}", "12 design.num_cells", "at least 1", "0", "How many"),
    ("design: full_factorial", "design: {name: random, num_cells: 40}", "12 design.num_cells", "there must be 40 distinct cells", "only", "ask for fewer"),
    ("design: full_factorial", "design: {name: random, num_cells: 1000000}", "12 design.num_cells", "at most 10000", "1000000", "How many"),
    ("design: full_factorial", "design: {name: random, num_cells: 3, seed: -1}", "12 design.seed", "at least 0", "-1", "Decides which"),
    ("design: full_factorial", "design: adaptive_search", "12 design.num_trials", "this key must be given", "nothing", "How many configurations"),
    ("design: full_factorial", "design: {name: fractional_factorial, resolution: 2}", "12 design.resolution", "at least 3", "2", "main effects are clear"),
    ("design: full_factorial", "design: fractional_factorial", "12 design", "needs factors without conditions", "peak_width, which has one", "change the design"),
    ("design: full_factorial", "design: leave_one_out", "12 design", "needs factors of two levels", "a, which has 3", "change the design"),
]  # fmt: skip

SEARCHES = [
    ("name: tpe", "name: tpee", "10 design.sampler", "sampler must be one of Optuna's", "tpee", "did you mean tpe?"),
    ("n_startup_trials: 5", "n_startup_trial: 5", "10 design.sampler.n_startup_trial", "an argument of sampler tpe must be one that it has", "5", "did you mean n_startup_trials?"),
    ("n_startup_trials: 5", "n_startup_trials: five", "10 design.sampler.n_startup_trials", "must be a whole number", "five", "change design.sampler"),
    ("{name: tpe, n_startup_trials: 5}", "{n_startup_trials: 5}", "10 design.sampler.name", "this key must be given", "nothing", "add it. What belongs here: The algorithm that proposes configurations: tpe, nsga2"),
    ("{name: tpe, n_startup_trials: 5}", "7", "10 design.sampler", "must be a name, or a mapping with one", "7", "tpe, nsga2, gp"),
    ("{name: tpe, n_startup_trials: 5}", "cma_es", "10 design.sampler", "cma_es must have one objective", "val/accuracy, sparsity/overall", "nsga2"),
    ("{name: tpe, n_startup_trials: 5}", "{name: nsga2, population_size: 1}", "10 design.sampler", "refuses its arguments", "1", "change"),
    ("{name: tpe, n_startup_trials: 5}", "{name: nsga2, crossover: SBXX}", "10 design.sampler.crossover", "must be the name of one that Optuna has", "SBXX", "did you mean SBX?"),
    ("{name: median, n_warmup_steps: 2}", "medain", "13 design.pruner", "pruner must be one of Optuna's", "medain", "did you mean median?"),
    ("{name: median, n_warmup_steps: 2}", "percentile", "13 design.pruner.percentile", "needs its argument percentile", "nothing", "change design.pruner.percentile"),
    ("n_warmup_steps: 2", "n_warmup: 2", "13 design.pruner.n_warmup", "an argument of pruner median", "2", "did you mean n_warmup_steps?"),
    ("val/accuracy: maximize", "val/accurcy: maximize", "11 design.objectives.val/accurcy", "a metric of the validation images", "val/accurcy", "did you mean val/accuracy?"),
    ("val/accuracy: maximize", "test/accuracy: maximize", "11 design.objectives.test/accuracy", "a metric of the validation images", "test/accuracy", "possible: val/accuracy"),
    ("val/accuracy: maximize", "val/accuracy: maximise", "11 design.objectives.val/accuracy", "'maximize' or 'minimize'", "'maximise'", "Metrics and their directions"),
    ("{val/accuracy: maximize, sparsity/overall: maximize}", "{}", "11 design.objectives", "1 or more entries", "{}", "Metrics and their directions"),
    ("{val/accuracy: maximize, sparsity/overall: maximize}", "[val/accuracy]", "11 design.objectives", "must be a mapping", "['val/accuracy']", "Metrics"),
    ("{at_most: 2.4}", "{}", "12 design.limits.spikes_per_neuron/overall", "a limit must have a bound", "none", "at_most: 1"),
    ("{at_most: 2.4}", "2.4", "12 design.limits.spikes_per_neuron/overall", "must be a mapping", "2.4", "within bounds"),
    ("{at_most: 2.4}", "{at_mots: 2.4}", "12 design.limits.spikes_per_neuron/overall.at_mots", "a key must be one that", "'at_mots'", "did you mean at_most?"),
    ("{at_most: 2.4}", "{at_most: 1, at_least: 2}", "12 design.limits.spikes_per_neuron/overall", "at_least must not be larger than at_most", "at_least=2", "swap"),
    ("spikes_per_neuron/overall: {", "spikes_per_neurn/overall: {", "12 design.limits.spikes_per_neurn/overall", "a metric of the validation images", "spikes", "did you mean spikes_per_neuron/overall?"),
    ("seeds_per_trial: 2", "seeds_per_trial: 7", "14 design.seeds_per_trial", "at most the number of seeds (6)", "7", "lower it"),
    ("seeds_per_trial: 2", "seeds_per_trial: 6", "15 design.finalists", "finalists need seeds that did not select them", "6 seeds, all of them", "raise seeds"),
    ("finalists: 3", "finalists: 51", "15 design.finalists", "at most the number of trials (50)", "51", "lower it"),
    ("num_trials: 50", "num_trials: 1000000000000", "9 design.num_trials", "at most 100000", "1000000000000", "How many"),
    ("num_trials: 50", "num_trials: 90000", "8 design", "at most 100,000 replicates", "90,000 trials with 2 seeds, 3 finalists", "fewer"),
    ("finalists: 3", "finalists: 3\n  warm_start: quickstart", "16 design.warm_start", "must be a list", "'quickstart'", "Earlier studies"),
    ("design:\n", "tuning: {parameters: {d: [0, 1]}, num_trials: 2}\ndesign:\n", "7 tuning", "tuning is for the cells of a design that compares", "d", "make the parameters factors"),
    ("  name: adaptive_search\n", "  name: one_factor_at_a_time\n", "9 design.num_trials", "design one_factor_at_a_time has", "'num_trials'", "possible: name"),
    ("b: {low: 0.1,", "b: {low: 0,", "5 factors.b.low", "low must be positive on a log scale", "low=0.0", "change"),
    ("seeds: 6", "seeds: 6\nconstraints: ['a > 2']", "17 constraints[0]", "at least one cell must keep the constraints", "none of 40", "loosen it"),
    ("seeds: 6", "seeds: 6\nconstraints: ['variant < 1']", "17 constraints[0]", "only two numbers or two texts can be compared", "'plain' and 1", "change the constraint"),
]  # fmt: skip

TUNINGS = [
    ("trainable: [ann, bitnet, converted_snn]", "trainable: [ann, bitnt]", "5 factors.trainable[1]", "trainable must be one that exists", "'bitnt'", "did you mean bitnet?"),
    ("trainable: [ann, bitnet, converted_snn]", "trainable: [ann]", "5 factors.trainable", "at least 2 distinct levels", "['ann']", "at the top of the file"),
    ("trainable: [ann, bitnet, converted_snn]", "trainable: {low: 1, high: 2}", "5 factors.trainable", "a range must be of a number, and trainable is none", "1 to 2", "give its levels"),
    ("trainable: [ann, bitnet, converted_snn]", "trainable: {levels: [ann, bitnet], when: {time_steps: 8}}", "5 factors.trainable.when", "trainable must not have a condition", "time_steps", "leave out"),
    ("question: Which?", "question: Which?\ntrainable: bitnet", "2 trainable", "either fixed or a factor", "bitnet", "remove one"),
    ("question: Which?", "question: Which?\ntrainable: [bitnet]", "2 trainable", "must be text", "['bitnet']", "What one replicate trains"),
    ("time_steps: [8, 32]", "time_stepz: [8, 32]", "6 factors.time_stepz", "a field of trainable ann or bitnet or converted_snn", "time_stepz", "did you mean time_steps?"),
    ("time_steps: [8, 32]", "time_steps: {levels: [8, 32], when: {trainable: [ann, bitnet]}}", "6 factors.time_steps.when.trainable", "a field of the trainables that it exists for, and time_steps is of bitnet, converted_snn", "ann", "change the condition"),
    ("time_steps: [8, 32]", "time_steps: [8, 32]\n  a: [0, 1]", "7 factors.a", "must be a field of trainable", "a", "possible"),
    ("time_steps: [8, 32]", "time_steps: {low: 2.5, high: 32}", "6 factors.time_steps.low", "time_steps must be a whole number", "2.5", "T, the number of time steps"),
    ("time_steps: [8, 32]", "time_steps: {low: 2, high: 32, step: 2.5}", "6 factors.time_steps.step", "whole bounds and steps", "step=2.5", "change"),
    ("config: {", "preset: Nothing\nconfig: {", "3 preset", "preset must be one that trainable ann or bitnet or converted_snn has", "Nothing", "BITnet6"),
    ("kinds: [M, A]", "kinds: [M, B]", "8 factors.layout.layouts.kinds[1]", "'M', 'A' or 'S'", "'B'", "Kinds of pools"),
    ("pools: 1", "pools: 5", "8 factors.layout.layouts", "the number of pools must be from 0 to the number of convolutions (2)", "5", "e.g."),
    ("pools: 1", "pools: []", "8 factors.layout.layouts", "at least one number and one kind of pools", "[]", "e.g."),
    ("pools: 1", "pool: 1", "8 factors.layout.layouts.pool", "a key must be one that factors.layout.layouts has", "'pool'", "did you mean pools?"),
    ("pools: 1", "pools: 1, smallest_map: 7", "8 factors.layout.layouts", "at least 2 placements must leave 8x8 images a last map of at least 7x7", "0 of 4 do", "smaller smallest_map"),
    ("pools: 1", "pools: 1, smallest_map: 0", "8 factors.layout.layouts.smallest_map", "at least 1", "0", "smallest side"),
    ("convolutions: 64 64", "convolutions: 64 Q", "8 factors.layout.layouts", "convolutions must be channel counts", "'Q'", "e.g."),
    ("convolutions: 64 64", "convolutions: ''", "8 factors.layout.layouts", "pools need at least one convolution", "none", "e.g."),
    ("convolutions: 64 64, pools: 1", "convolutions: " + "64 " * 40 + ", pools: [6, 7, 8]", "8 factors.layout.layouts", "at most 10,000 placements", "", "fewer pools"),
    ("convolutions: 64 64, pools: 1", "convolutions: " + "64 " * 4000 + ", pools: 2000", "8 factors.layout.layouts", "at most 100 convolutions", "4000", "fewer"),
    ("lr: [0.001, 0.01]", "lrr: [0.001, 0.01]", "10 tuning.parameters.lrr", "what is tuned must be a field of trainable", "lrr", "did you mean lr?"),
    ("lr: [0.001, 0.01]", "device: [cpu, auto]", "10 tuning.parameters.device", "that changes what is learnt", "device", "possible"),
    ("lr: [0.001, 0.01]", "epochs: [1, two]", "10 tuning.parameters.epochs[1]", "epochs must be a whole number", "'two'", "How many times the training images are passed over"),
    ("lr: [0.001, 0.01]", "lr: 3", "10 tuning.parameters.lr", "must be a list of levels, or a mapping", "3", "What is tuned"),
    ("lr: [0.001, 0.01]", "time_steps: [8, 16], lr: [0.001, 0.01]", "10 tuning.parameters.time_steps", "either tuned or in factors", "time_steps", "remove one"),
    ("lr: [0.001, 0.01]", "feature_scale: [0.1, 0.2]", "10 tuning.parameters.feature_scale", "either tuned or in config", "feature_scale", "remove one"),
    ("lr: [0.001, 0.01]", "leak: [0.5, 1]", "10 tuning.parameters.leak", "a field of every trainable, and leak is of converted_snn alone", "leak", "leave it out"),
    ("lr: [0.001, 0.01]", "validation_fraction2: [0.5]", "10 tuning.parameters.validation_fraction2", "what is tuned", "", "validation_fraction"),
    ("lr: [0.001, 0.01]", "lr: {low: 0, high: 1, log: true}", "10 tuning.parameters.lr.low", "lr must be greater than 0", "0", "The largest learning rate"),
    ("parameters: {lr: [0.001, 0.01]}", "parameters: {}", "10 tuning.parameters", "1 or more entries", "{}", "What is tuned"),
    ("num_trials: 2", "num_trials: 2\n  seed: 2", "12 tuning.seed", "none of the study's seeds", "2", "1000"),
    ("num_trials: 2", "num_trials: 2\n  sampler: tpee", "12 tuning.sampler", "sampler must be one of Optuna's", "tpee", "did you mean tpe?"),
    ("num_trials: 2", "num_trals: 2", "11 tuning.num_trals", "a key must be one that tuning has", "'num_trals'", "did you mean num_trials?"),
    ("tuning:\n", "tuning: 3\nx:\n", "9 tuning", "must be a mapping", "3", "Nuisance"),
    ("seed_sd: 0.01", "seed_sd: 0", "13 seed_sd", "greater than 0", "0", "standard deviation"),
    ("seed_sd: 0.01", "seed_sd: 1.2", "13 seed_sd", "at most 1", "1.2", "as a fraction"),
    ("seed_sd: 0.01", "seed_sd: small", "13 seed_sd", "must be a number", "'small'", "standard deviation"),
    ("resources: {cpus: 2}", "resources: {cpus: two}", "14 resources.cpus", "must be a number", "'two'", "CPU cores"),
    ("resources: {cpus: 2}", "resources: {cpus: 2, gpus: -1}", "14 resources.gpus", "at least 0", "-1", "GPUs"),
    ("resources: {cpus: 2}", "resources: 2", "14 resources", "must be a mapping", "2", "What one replicate is given"),
    ("seeds: 3", "seeds: 100000000000", "12 seeds", "at most 10,000", "100000000000", "e.g. seeds: 10"),
    ("seeds: 3", "seeds: [0, 1.5]", "12 seeds[1]", "must be a whole number", "1.5", "How many seeds"),
    ("seeds: 3", "seeds: [-1, 2]", "12 seeds", "from 0 to 2147483647", "[-1, 2]", "e.g."),
    ("trainable: ann, ", "", "5 factors.trainable", "must have a baseline level", "none", "{trainable: …}"),
    ("layout: 64 M 64}", "layout: 64 64 F}", "2 baseline.layout", "one of the factor's levels", "'64 64 F'", "choose one of"),
]  # fmt: skip

MISTAKES = [
    (text, *mistake)
    for text, mistakes in ((SURFACE, [*FACTORS, *CONSTRAINTS, *DESIGNS]), (SEARCH, SEARCHES), (TUNED, TUNINGS))
    for mistake in mistakes
]


TWICE = {
    "a: [-1, 0, 1]\n  nois: [0, 1]": 2,  # nor has it a baseline
    "factors:\n  - 3\nconfigg:\n": 2,
    "design: {name: random, num_cels: 4}": 2,  # num_cells is missing
    "  name: one_factor_at_a_time\n": 10,  # seven options of a search, three factors without baseline
    "time_steps: [8, 32]\n  a: [0, 1]": 2,
    "time_stepz: [8, 32]": 2,  # what is in the baseline then
    "tuning: 3\nx:\n": 2,
    "num_trals: 2": 2,
    "pool: 1": 2,
}
"""How many problems there are where a mistake is more than one."""


@pytest.mark.parametrize(
    ("text", "old", "new", "place", "rule", "value", "repair"), MISTAKES, ids=[(new or old)[:80] for _, old, new, *_ in MISTAKES]
)
def test_mistakes(text: str, old: str, new: str, place: str, rule: str, value: str, repair: str, tmp_path: Path) -> None:
    """Every mistake is told with its place, the rule, the value and a repair, and nothing is said of what is right."""
    assert old in text
    problems = problems_of(written(tmp_path, text.replace(old, new, 1)))
    found = [problem for problem in problems if f"s.yaml:{place}" in f"{problem.where}\n" and rule in problem.rule]
    assert found, "\n".join(map(str, problems))
    assert value in found[0].value
    assert repair in found[0].repair
    assert len(problems) == TWICE.get(new, 1), "\n".join(map(str, problems))


def test_a_value_that_is_no_level(tmp_path: Path) -> None:
    """What a level may be is said once, in one phrase."""
    (problem,) = problems_of(written(tmp_path, SURFACE), "baseline.a=[0]")
    assert problem.rule == "must be true or false, a number, a text or null"


def test_overrides_are_typed_like_the_file(tmp_path: Path) -> None:
    """--set changes any part of a study: lists, options of a design, bounds of a range, the design itself."""
    search = str(written(tmp_path, SEARCH))
    assert load_study(search, ["design.num_trials=5"]).search.num_trials == 5  # type: ignore[union-attr]
    assert load_study(search, ["factors.a.high=0.5"]).space.factor("a").domain.high == 0.5  # type: ignore[union-attr]
    assert load_study(search, ["design.sampler.n_startup_trials=7"]).search.sampler["n_startup_trials"] == 7  # type: ignore[union-attr]
    assert load_study(search, ["design.sampler=random"]).search.sampler["name"] == "random"  # type: ignore[union-attr]
    assert load_study(search, ["config.lr=1e-3", "seeds=[4, 5, 6]"]).seeds == (4, 5, 6)
    surface = str(written(tmp_path, SURFACE))
    assert len(load_study(surface, ["factors.a=[-1, 0]", "constraints=[]"]).cells) == 12
    assert load_study(surface, ["design=one_factor_at_a_time"]).design == "one_factor_at_a_time"
    assert len(load_study(surface, ["design.name=random", "design.num_cells=3"]).cells) == 3
    assert load_study(surface, ["resources.gpus=0.5"]).resources.gpus == 0.5
    assert len(load_study("quickstart", ["factors.time_steps=[4, 8]"]).cells) == 6


@pytest.mark.parametrize(
    ("override", "place", "rule"),
    [
        ("factors.a=[0, 2]", "factors.a[1]", "a must be at most 1"),
        ("factors.a=3", "factors.a", "must be a list of levels, or a mapping"),
        ("factors.peak_width.levels=[0.5, wide]", "factors.peak_width.levels[1]", "peak_width must be a number"),
        ("factors.a.high=1", "", "every part of the path but the last must be a mapping"),
        ("design.num_trials=5", "design.num_trials", "a key must be one that design full_factorial has"),
        ("design=fractional", "design", "design must be one that exists"),
        ("constraints=[a <]", "constraints[0]", "a constraint must be an expression"),
        ("baseline.a=5", "baseline.a", "one of the factor's levels"),
        ("config.epochs=yes", "config.epochs", "yes, no, on and off"),
        ("search_space=nothing", "search_space", "search_space must name a file of search_spaces"),
    ],
)
def test_mistakes_in_overrides(override: str, place: str, rule: str, tmp_path: Path) -> None:
    """A mistake on the command line is told where it was made."""
    (problem,) = problems_of(written(tmp_path, SURFACE), override)
    assert problem.where == f"--set {override} {place}".strip()
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("override", "num_others"),
    [
        ("trainable=[bitnet]", 4),
        ("trainable=bitnt", 4),
        ("baseline=[]", 4),
        ("config=3", 3),  # what was wrong with it is no longer there
        ("search_space=[quickstart]", 4),
        ("search_space=quickstart", 4),
        ("design=[full]", 4),
        ("question=3", 4),
        ("seeds", 4),
        ("factors=3", 3),
    ],
)
def test_one_wrong_part_hides_nothing_else(override: str, num_others: int, tmp_path: Path) -> None:
    """What is wrong elsewhere is told too, as far as it can be judged, and what is right is left alone."""
    text = SURFACE.replace("epochs: 2", "epochs: 0").replace("b: [0, 1]", "b: [0, 7]").replace("a + b <= 1.5", "a + <= 1.5")
    path = written(tmp_path, text.replace("seeds: 6", "seeds: 6\nresources: {cpus: 0}"))
    assert len(problems_of(path)) == 4
    problems = problems_of(path, override)
    assert len(problems) == num_others + 1, "\n".join(map(str, problems))
    assert sum(problem.where.startswith(f"--set {override}") for problem in problems) == 1


def test_a_file_that_cannot_be_read_hides_no_override(tmp_path: Path) -> None:
    """A bad --set is told beside a file that is no YAML."""
    first, second = problems_of(written(tmp_path, "question: ["), "seeds")
    assert first.rule == "the file must be YAML"
    assert second.where == "--set seeds"


def test_a_named_space_is_checked_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes in a named space are told with its own lines, and the study's own constraints keep theirs."""
    space = tmp_path / "space.yaml"
    space.write_text("factors:\n  a: [0, 2]\nconstraints:\n  - a < 3\n  - a <\nseeds: 3\n")
    monkeypatch.setattr(lookup, "named_spaces", lambda: {"mine": space})
    text = SURFACE.replace("  a: [-1, 0, 1]\n", "").replace("a + b <= 1.5", "a + b <=") + "search_space: mine\n"
    found = {problem.where.split("/")[-1] for problem in problems_of(written(tmp_path, text))}
    assert found == {"space.yaml:2 factors.a[1]", "space.yaml:5 constraints[1]", "space.yaml:6 seeds", "s.yaml:10 constraints[2]"}


def test_a_design_is_told_beside_other_mistakes(tmp_path: Path) -> None:
    """Cells are looked at even where seeds or resources are wrong."""
    text = SURFACE.replace("seeds: 6", "seeds: 0\nresources: {cpus: 0}").replace("a + b <= 1.5", "a + b > 0")
    assert {problem.path for problem in problems_of(written(tmp_path, text))} == {"seeds", "resources.cpus", "baseline"}
