"""What a check found: one line, and another that says what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`warning`: it works, and deserves a look. `failed`: it would not work. Both come with what mends it."""

    check: str  # what was looked at: "configuration", "interface wg0" …
    status: Status
    message: str
    mend: str = ""  # the exact command or setting; "" = nothing to do


def good(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, mend: str) -> Finding:
    return Finding(check, "warning", message, mend)


def failed(check: str, message: str, mend: str) -> Finding:
    return Finding(check, "failed", message, mend)
