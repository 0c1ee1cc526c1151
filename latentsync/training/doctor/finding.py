"""What one check of the doctor found."""

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["ok", "too weak", "suspicious", "bad"]


@dataclass(frozen=True)
class Finding:
    """check: its name. verdict: "too weak": the clips do not tell. values: for JSON.

    message: the figure behind the verdict, and what to do unless all is well.
    """

    check: str
    verdict: Verdict
    message: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verdict:<11} {self.check:<13} {self.message}"
