"""The form of a bcrypt hash."""

from __future__ import annotations

import re

MAX_COST = 18  # a few seconds of computing; each step doubles it

_HASH = re.compile(
    rb"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)  # the last character of the salt has 2 bits


def hash_cost(password_hash: bytes) -> int | None:
    """The cost of a bcrypt hash, 4 to 31; None = this is not a bcrypt hash."""
    match = _HASH.fullmatch(password_hash)
    cost = int(match[1]) if match else 0
    return cost if 4 <= cost <= 31 else None


def unmatched_hash(cost: int) -> bytes:
    """A hash of this cost that no password matches."""
    return b"$2b$%02d$" % cost + b"." * 53
