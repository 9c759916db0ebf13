"""Compares passwords with bcrypt hashes.

bcrypt is slow on purpose, so a single thread computes it, beside the event loop, and the number of
passwords that wait for it is bounded. A password that was right is remembered as a keyed hash in memory;
the key is made at the start and never leaves the process.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from exporter.web.logins.bcrypthash import hash_cost, unmatched_hash

REMEMBERED = 128
WAITING = 16


class OverloadedError(Exception):
    """Too many passwords wait to be checked."""


class BasicAuth:
    """Checks passwords. Call `close()` in the end."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bcrypt")
        self._waiting = 0

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def verify(self, users: Mapping[str, bytes], user: bytes, password: bytes) -> bool:
        """Whether `users` (name → bcrypt hash) has this user with this password.

        A wrong login costs the same time whether the user is known or not, whatever the cost of the user's
        hash. Raises `OverloadedError`.
        """
        known = {name.encode(): password_hash for name, password_hash in users.items()}
        highest = _highest_cost(users)
        password_hash = known.get(user, unmatched_hash(highest))
        # Unambiguous: the length of the name is given, and a hash contains no colon.
        login = b"%d:%b:%b:%b" % (len(user), user, password_hash, password)
        mark = hmac.digest(self._key, login, "sha256")
        if mark in self._right:
            self._right.move_to_end(mark)
            return True
        if not await self._matches(password, password_hash, highest) or user not in known:
            return False
        self._right[mark] = None
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)
        return True

    async def _matches(self, password: bytes, password_hash: bytes, highest: int) -> bool:
        if self._waiting >= WAITING:
            raise OverloadedError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, _check, password, password_hash, highest)
        finally:
            self._waiting -= 1


def _check(password: bytes, password_hash: bytes, highest: int) -> bool:
    """Whether the password matches. A wrong one takes the time of a hash of the cost `highest`."""
    # bcrypt reads 72 bytes of a password, and htpasswd makes a hash of a longer one without a warning.
    if bcrypt.checkpw(password[:72], password_hash):
        return True
    # Each step of the cost doubles the time, so the costs c, c, c + 1, ..., highest - 1 add up to `highest`.
    for cost in range(hash_cost(password_hash) or highest, highest):
        bcrypt.checkpw(password[:72], unmatched_hash(cost))
    return False


def _highest_cost(users: Mapping[str, bytes]) -> int:
    return max(hash_cost(password_hash) or 4 for password_hash in users.values())
