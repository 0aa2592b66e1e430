"""What an archived run's tags say of the store that it came from, rewritten for the store that it is imported into."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from studies.credentials import has_credentials

COMMAND_WITH_STORE = re.compile(r"(spikesweep (?:reproduce|trial) \w+) --tracking-uri '[^']*'")
"""How a run's description says to train it again; earlier versions wrote ``trial``."""


@dataclass
class IdRewriter:
    """Replaces the ids of runs and of their experiment, and the store's URI in commands."""

    old_experiment: str
    new_experiment: str
    tracking_uri: str
    """Of the new store."""
    run_ids: dict[str, str] = field(default_factory=dict)
    """New ids by old ones, of the runs that the tags of other runs may name."""

    def text(self, text: str, run_ids: Mapping[str, str]) -> str:
        """The text with links that lead to the new store; ``run_ids`` are further new ids by old ones."""
        for old, new in {**self.run_ids, **run_ids}.items():
            text = text.replace(old, new)
        text = re.sub(rf"#/experiments/{re.escape(self.old_experiment)}\b", f"#/experiments/{self.new_experiment}", text)
        option = "" if has_credentials(self.tracking_uri) else f" --tracking-uri '{self.tracking_uri}'"
        return COMMAND_WITH_STORE.sub(lambda found: found[1] + option, text)

    def tags(self, tags: Mapping[str, str], run_ids: Mapping[str, str]) -> dict[str, str]:
        """The tags with ``text`` applied to every value."""
        return {name: self.text(value, run_ids) for name, value in tags.items()}
