"""Says in the words of the store that runs come to what their tags say of the store that they came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from studies.credentials import mask_credentials


@dataclass
class Translation:
    """Ids of runs and of their experiment, and the store's URI in commands."""

    old_experiment: str
    new_experiment: str
    tracking_uri: str
    """Of the new store."""
    run_ids: dict[str, str] = field(default_factory=dict)
    """New ones by old ones, of the runs that tags of others may name."""

    def text(self, text: str, run_ids: Mapping[str, str]) -> str:
        """A text whose links lead to the new store; ``run_ids`` are known beside those of all."""
        for old, new in {**self.run_ids, **run_ids}.items():
            text = text.replace(old, new)
        text = re.sub(rf"#/experiments/{re.escape(self.old_experiment)}\b", f"#/experiments/{self.new_experiment}", text)
        has_password = mask_credentials(self.tracking_uri) != self.tracking_uri
        option = "" if has_password else f" --tracking-uri '{self.tracking_uri}'"
        return re.sub(r"(spikesweep trial \w+) --tracking-uri '[^']*'", lambda found: found[1] + option, text)

    def tags(self, tags: Mapping[str, str], run_ids: Mapping[str, str]) -> dict[str, str]:
        """All of them."""
        return {name: self.text(value, run_ids) for name, value in tags.items()}
