"""What one check of the doctor found."""

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "suspicious", "bad"]


@dataclass(frozen=True)
class Finding:
    """check: its name. verdict; message: the figure behind it, and what to do unless all is well. values: for JSON."""

    check: str
    verdict: Verdict
    message: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verdict:<11} {self.check:<13} {self.message}"
