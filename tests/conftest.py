"""PostgreSQL servers for every test that wants one, started once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.store.database.settings import Target
from tests.kit import postgres as servers
from tests.kit.postgres import PostgresServer


@pytest.fixture(scope="session")
def _templates() -> Iterator[None]:
    yield
    servers.remove_templates()


@pytest.fixture(scope="session")
def postgres15(_templates: None) -> Iterator[PostgresServer]:
    """The distribution's server, shared by the session. A crash would cost its data: do not kill it."""
    with servers.running(servers.available("15")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres17(_templates: None) -> Iterator[PostgresServer]:
    """The wheel's server, shared by the session. A crash would cost its data: do not kill it."""
    with servers.running(servers.available("17")) as server:
        yield server


@pytest.fixture(scope="session", params=["15", "17"])
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Each of the shared servers in turn."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Target]:
    """A fresh database on each of the shared servers in turn, as the superuser reaches it."""
    with servers.database(postgres) as target:
        yield target


@pytest.fixture
def private_postgres(_templates: None) -> Iterator[Callable[..., PostgresServer]]:
    """Starts servers that the test may kill, as in `private_postgres("17", checkpoint_timeout="30s")`.

    What such a server has confirmed is on the disk. Without a name it is the distribution's.
    """
    with contextlib.ExitStack() as stack:

        def start(name: str = "15", **settings: Any) -> PostgresServer:
            return stack.enter_context(servers.running(servers.available(name), settings))

        yield start
