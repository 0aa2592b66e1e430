"""What is raised, or returned, where a factor, a space, a design or a constraint breaks a rule."""


class RuleError(ValueError):
    """A rule that a value breaks.

    Attributes:
        rule: What must hold: ``low must be less than high``.
        value: What was found instead: ``low=2, high=1``; may be empty.
        repair: What to do about it; may be empty.
        field: The factor, or the key of it, that it is about; empty where it is about none.
    """

    def __init__(self, rule: str, value: str = "", repair: str = "", field: str = "") -> None:
        super().__init__(rule, value, repair, field)
        self.rule, self.value, self.repair, self.field = rule, value, repair, field

    def __str__(self) -> str:
        subject = f"{self.field}: " if self.field else ""
        return f"{subject}{'; '.join(part for part in (self.rule, self.value and f'got {self.value}', self.repair) if part)}"
