"""Checking passwords, with real bcrypt hashes."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import bcrypt
import pytest

from exporter.web.logins import basicauth
from exporter.web.logins.basicauth import BasicAuth, OverloadedError
from exporter.web.logins.bcrypthash import hash_cost, unmatched_hash
from exporter.web.logins.credentials import credentials
from tests.kit.web import password_hash

USERS = {"prometheus": password_hash("correct horse").encode(), "zoë": password_hash("pâté").encode()}


def run(check: Callable[[BasicAuth], Awaitable[None]]) -> None:
    """Runs `check` with a BasicAuth that is closed afterwards."""

    async def main() -> None:
        auth = BasicAuth()
        try:
            await check(auth)
        finally:
            auth.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        ("prometheus", "correct horse", True),
        ("zoë", "pâté", True),
        ("prometheus", "correct horse ", False),
        ("prometheus", "", False),
        ("Prometheus", "correct horse", False),
        ("zoë", "correct horse", False),
        ("nobody", "correct horse", False),
        ("", "", False),
        ("prometheus", "a\0b", False),
        ("prometheus", "x" * 5000, False),
    ],
)
def test_only_the_right_password_of_a_user_is_right(user: str, password: str, expected: bool) -> None:
    """The right password of a user is right, also when it is remembered; any other login is wrong."""

    async def check(auth: BasicAuth) -> None:
        for _ in range(2):
            assert await auth.verify(USERS, user.encode(), password.encode()) is expected

    run(check)


def test_a_password_is_compared_up_to_its_72nd_byte() -> None:
    """A hash of the first 72 bytes, as htpasswd makes it, matches the whole password."""
    users = {"a": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))}

    async def check(auth: BasicAuth) -> None:
        assert await auth.verify(users, b"a", b"x" * 100)
        assert not await auth.verify(users, b"a", b"x" * 71)

    run(check)


def test_the_cache_follows_the_hash_and_stays_small() -> None:
    """After a change of the hash, the old password is wrong; the cache has a maximum size."""

    async def check(auth: BasicAuth) -> None:
        assert await auth.verify(USERS, b"prometheus", b"correct horse")
        changed = {**USERS, "prometheus": password_hash("new").encode()}
        assert not await auth.verify(changed, b"prometheus", b"correct horse")
        assert await auth.verify(changed, b"prometheus", b"new")
        without = {"zoë": USERS["zoë"]}
        assert not await auth.verify(without, b"prometheus", b"correct horse")
        many = {f"user{number}": password_hash("p").encode() for number in range(basicauth.REMEMBERED + 5)}
        for name in many:
            assert await auth.verify(many, name.encode(), b"p")
        assert len(auth._right) == basicauth.REMEMBERED

    run(check)


def test_a_flood_of_wrong_passwords_does_not_lock_out_remembered_ones() -> None:
    """Guesses above the length of the queue are refused unchecked; a remembered password does not wait."""

    async def check(auth: BasicAuth) -> None:
        assert await auth.verify(USERS, b"prometheus", b"correct horse")
        guesses = [
            asyncio.create_task(auth.verify(USERS, b"prometheus", b"guess %d" % number))
            for number in range(basicauth.WAITING + 10)
        ]
        await asyncio.sleep(0)
        assert await auth.verify(USERS, b"prometheus", b"correct horse")
        results = await asyncio.gather(*guesses, return_exceptions=True)
        turned_away = [result for result in results if isinstance(result, OverloadedError)]
        assert len(turned_away) == 10
        assert results.count(False) == basicauth.WAITING
        assert await auth.verify(USERS, "zoë".encode(), "pâté".encode())

    run(check)


@pytest.mark.parametrize("user", [b"cheap", b"middle", b"costly", b"nobody"])
def test_an_unknown_user_costs_as_much_as_a_known_one(user: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password costs as many rounds of bcrypt as the costliest hash, for each user and for none."""
    costs = {"cheap": 4, "middle": 5, "costly": 7}
    users = {name: password_hash("p", cost).encode() for name, cost in costs.items()}
    rounds = []
    compare = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        rounds.append(2 ** (hash_cost(hashed) or 0))
        return compare(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)

    async def check(auth: BasicAuth) -> None:
        assert not await auth.verify(users, user, b"wrong")
        assert sum(rounds) == 2**7

    run(check)


def test_no_password_matches_the_hash_for_unknown_users() -> None:
    """The hash with which the password of an unknown user is compared has the cost asked for and no match."""
    decoy = unmatched_hash(6)
    assert hash_cost(decoy) == 6
    assert not bcrypt.checkpw(b"p", decoy)


def test_a_flood_of_unknown_users_waits_in_the_same_queue() -> None:
    """Unknown users wait in the same queue as known ones, so their answers are not faster."""

    async def check(auth: BasicAuth) -> None:
        attempts = (auth.verify(USERS, b"nobody%d" % number, b"x") for number in range(basicauth.WAITING + 1))
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(result) for result in results].count(OverloadedError) == 1

    run(check)


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (basic(b"a:b"), (b"a", b"b")),
        (basic(b"a:b:c"), (b"a", b"b:c")),
        (basic(b":"), (b"", b"")),
        (basic("zoë:ü".encode()), ("zoë".encode(), "ü".encode())),
        ("basic  " + base64.b64encode(b"a:b").decode(), (b"a", b"b")),
        (basic(b"no colon"), None),
        ("Bearer " + base64.b64encode(b"a:b").decode(), None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic ünï", None),
        ("", None),
    ],
)
def test_credentials_are_read_as_rfc_7617_says(header: str, expected: tuple[bytes, bytes] | None) -> None:
    """The first colon of the credentials ends the user name; other schemes and malformed values are no
    credentials."""
    assert credentials(header) == expected


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        (b"$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG", 10),
        (b"$2a$04$" + b"a" * 21 + b"e" + b"a" * 31, 4),
        (b"$2b$31$" + b"a" * 21 + b"." + b"a" * 31, 31),
        (b"$2b$31$" + b"a" * 21 + b"z" + b"a" * 31, None),
        (b"$2b$32$" + b"a" * 53, None),
        (b"$2b$03$" + b"a" * 53, None),
        (b"$2b$10$" + b"a" * 52, None),
        (b"$2b$10$" + b"a" * 53 + b"\n", None),
        (b"$1$abc$def", None),
        (b"secret", None),
        (b"", None),
    ],
)
def test_bcrypt_hashes_are_told_from_anything_else(text: bytes, cost: int | None) -> None:
    """Hashes as htpasswd prints them are recognised; texts that only resemble them are not."""
    assert hash_cost(text) == cost
