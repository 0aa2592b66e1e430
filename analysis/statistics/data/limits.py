"""The limits of a search: what a configuration must keep to be the best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.statistics.data.cells import finite_values
from studies.run_record import RunRecord, StudyRecord


def keeps_limits(study: StudyRecord, replicates: Sequence[RunRecord]) -> bool:
    """Whether the means of a configuration's finished replicates keep every limit; not where one was not measured."""
    limits: Mapping[str, Mapping[str, Any]] = study.options.get("limits") or {}
    return all(_keeps(limit, list(finite_values(replicates, metric).values())) for metric, limit in limits.items())


def _keeps(limit: Mapping[str, Any], values: Sequence[float]) -> bool:
    if not values:
        return False
    mean, at_most, at_least = float(np.mean(values)), limit.get("at_most"), limit.get("at_least")
    return (at_most is None or mean <= at_most) and (at_least is None or mean >= at_least)
