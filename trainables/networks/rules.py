"""What is raised, or told, where a layout, a config or data break a rule."""


class RuleError(ValueError):
    """A rule that a value breaks. ``problems`` of a trainable gives them; elsewhere they are raised.

    Attributes:
        rule: What must hold: ``batch_size must be at least 2 where batch norms are trained``.
        value: What was found instead; empty for the value of ``field``.
        repair: What to do about it; may be empty.
        field: The field of the config that it is about; empty where it is about none.
    """

    def __init__(self, rule: str, value: str = "", repair: str = "", field: str = "") -> None:
        super().__init__(rule, value, repair, field)
        self.rule, self.value, self.repair, self.field = rule, value, repair, field

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        return f"{subject}{'; '.join(part for part in (self.rule, self.value and f'got {self.value}', self.repair) if part)}"
