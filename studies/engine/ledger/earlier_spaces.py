"""What a ledger holds of the search spaces that a study had before: each has an Optuna study of its own, see ``ledger.py``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.language.space import Space
from studies.engine.binding.optuna_internals import study_id_of
from studies.engine.ledger.ledger import METER, LedgerEntry, entry_of, name_in_ledger
from studies.engine.ledger.storage import IDENTITY, LEVELS, STUDY_NAME, is_absent, ledger_problems, open_storage


@dataclass(frozen=True)
class EarlierSpaces:
    """What a study did before its factors were changed.

    Attributes:
        entries: The newest entry of every identity, in the order in which the replicates began; their cells are those of the
            space that they were proposed in.
        meter: What the study had cost by then, as the newest of these spaces has it.
    """

    entries: Mapping[str, LedgerEntry] = field(default_factory=dict)
    meter: Mapping[str, Any] = field(default_factory=dict)


def read_earlier_spaces(ledger: str, study_name: str, space: Space) -> EarlierSpaces:
    """What the ledger holds of a study in other search spaces than this one. Creates nothing.

    Raises:
        StudyError: The ledger cannot be reached, is none, or is damaged.
    """
    entries: dict[str, LedgerEntry] = {}
    meter: Mapping[str, Any] = {}
    with ledger_problems(ledger):
        if is_absent(ledger):
            return EarlierSpaces()
        storage = open_storage(ledger)
        for study in storage.get_all_studies():  # the newest space comes last
            if study.user_attrs.get(STUDY_NAME) == study_name and study.study_name != name_in_ledger(study_name, space):
                meter = study.user_attrs.get(METER, meter)
                for trial in storage.get_all_trials(study_id_of(study), deepcopy=False):
                    entries[trial.user_attrs[IDENTITY]] = entry_of(trial, trial.user_attrs.get(LEVELS, {}))
    return EarlierSpaces(entries, meter)
