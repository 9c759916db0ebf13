"""For all tests: signals, order, reports of failures, and PostgreSQL servers that are started once."""

from __future__ import annotations

import contextlib
import gc
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any

import hypothesis
import pytest

from exporter.store.database.settings import Target
from tests.kit import workers
from tests.kit.servers import postgres as servers
from tests.kit.servers.postgres import PostgresServer

# By default, hypothesis fails an example that takes 200 ms, which any busy machine needs now and then.
hypothesis.settings.register_profile("argus", deadline=None)
hypothesis.settings.load_profile("argus")


def pytest_configure() -> None:
    """Handles SIGINT and SIGHUP if they are ignored, as in a run with nohup(1) or `&`.

    Otherwise the commands that tests start would inherit this, and tests could not interrupt them.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            # Child processes do not inherit a handler, and pytest itself continues.
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the longest tests first, so that no worker runs one of them alone at the end."""
    items.sort(key=lambda item: workers.position(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> workers.ByRow:
    return workers.ByRow(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keeps the garbage collector from running while pytest reports a failure.

    pytest parses the source of the failed test. If the collector runs meanwhile and finds an asyncio task
    with an exception that was not retrieved, the source of its traceback is parsed within the other one.
    Python 3.11.2 then raises "AST constructor recursion depth mismatch" (python/cpython#106905), and pytest
    ends with an internal error.
    """
    if call.excinfo is None or not gc.isenabled():
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def _templates() -> Iterator[None]:
    yield
    servers.remove_templates()


@pytest.fixture(scope="session")
def postgres15(_templates: None) -> Iterator[PostgresServer]:
    """The distribution's server, shared by the session. Do not kill it: a crash loses its data."""
    with servers.running(servers.available("15")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres17(_templates: None) -> Iterator[PostgresServer]:
    """The wheel's server, shared by the session. Do not kill it: a crash loses its data."""
    with servers.running(servers.available("17")) as server:
        yield server


@pytest.fixture(scope="session", params=["15", "17"])
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Each of the shared servers in turn."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    return server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Target]:
    """A fresh database on each of the shared servers in turn, for the superuser."""
    with servers.database(postgres) as target:
        yield target


@pytest.fixture
def private_postgres(_templates: None) -> Iterator[Callable[..., PostgresServer]]:
    """Starts servers that the test may kill, as in `private_postgres("17", checkpoint_timeout="30s")`.

    What such a server has confirmed is on the disk. The default is the distribution's server.
    """
    with contextlib.ExitStack() as stack:

        def start(name: str = "15", **settings: Any) -> PostgresServer:
            return stack.enter_context(servers.running(servers.available(name), settings))

        yield start
