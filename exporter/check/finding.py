"""What a check found: one line, and a second one that says how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`warning`: it works, but may not be intended. `failed`: it would not work. Both have a remedy."""

    check: str  # the thing that was checked: "configuration", "interface wg0" …
    status: Status
    message: str
    remedy: str = ""  # the exact command or setting; "" = nothing to do


def good(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def failed(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "failed", message, remedy)
