"""Basic authentication (RFC 7617) against bcrypt hashes.

bcrypt is slow on purpose, so one thread alone computes it, beside the event loop; few may wait for
it, and what was right once is remembered. What is remembered is a keyed hash that dies with the
process, never a password.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

REMEMBERED = 128
WAITING = 16
MAX_COST = 18  # a few seconds of computing; each step doubles it

_HASH = re.compile(
    rb"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"
)  # the salt's last character has 2 bits


class OverloadedError(Exception):
    """Too many passwords wait to be checked; come back later."""


def hash_cost(password_hash: bytes) -> int | None:
    """The cost of a bcrypt hash, 4 to 31; None = this is no bcrypt hash."""
    match = _HASH.fullmatch(password_hash)
    cost = int(match[1]) if match else 0
    return cost if 4 <= cost <= 31 else None


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """User and password of an `Authorization` header; None = these are no basic credentials."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon else None


class BasicAuth:
    """Checks credentials; `close()` when done."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bcrypt")
        self._waiting = 0

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def verify(self, users: Mapping[str, bytes], user: bytes, password: bytes) -> bool:
        """Whether `users` (name → bcrypt hash) has this user with this password.

        An unknown user costs as much time as a known one. Raises `OverloadedError`.
        """
        known = {name.encode(): password_hash for name, password_hash in users.items()}
        password_hash = known.get(user, _decoy(users))
        # No field but the last can be confused with its neighbour: a hash holds no colon.
        told = b"%d:%b:%b:%b" % (len(user), user, password_hash, password)
        mark = hmac.digest(self._key, told, "sha256")
        if mark in self._right:
            self._right.move_to_end(mark)
            return True
        if not await self._matches(password, password_hash) or user not in known:
            return False
        self._right[mark] = None
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)
        return True

    async def _matches(self, password: bytes, password_hash: bytes) -> bool:
        if self._waiting >= WAITING:
            raise OverloadedError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, _check, password, password_hash)
        finally:
            self._waiting -= 1


def _check(password: bytes, password_hash: bytes) -> bool:
    # bcrypt reads 72 bytes of a password; tools that make hashes cut there in silence.
    return bcrypt.checkpw(password[:72], password_hash)


def _decoy(users: Mapping[str, bytes]) -> bytes:
    """A hash that nobody has the password of, as expensive as the users' own."""
    cost = max(hash_cost(password_hash) or 4 for password_hash in users.values())
    return b"$2b$%02d$" % cost + b"." * 53
