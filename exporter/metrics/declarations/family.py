"""A metric family: its name, type and help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "info"]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric family. Each is declared once, and compared by identity.

    `name` is the name of its samples. An `info` is a gauge that is always 1.
    """

    name: str
    kind: Kind
    help: str
