"""Where the database is, and how it is spoken to."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Literal

TlsMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


@dataclass(frozen=True, slots=True)
class Target:
    """One database of one server, and who asks."""

    host: str  # a name, an address, or the directory of a Unix socket
    port: int
    database: str
    user: str
    password: str = field(default="", repr=False)
    tls: TlsMode = "disable"
    context: ssl.SSLContext | None = field(default=None, repr=False)  # None = as `tls` says, without files

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"
