"""A connection to the database, and whose rows it may see.

Every error of the driver becomes one of exporter/store/errors.py, in a sentence that says what would fix it.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, TypeAlias

import asyncpg

from exporter.store.database.settings import Target
from exporter.store.errors import DatabaseRefused, DatabaseUnreachable, SchemaMismatch, StoreError

Role = Literal["argus_owner", "argus_collector", "argus_reader"]
Connection: TypeAlias = "asyncpg.Connection[Any]"

# SQLSTATE, whole or its class (https://www.postgresql.org/docs/current/errcodes-appendix.html). Another try
# may fix: connection, deadlock, resources, a lock, an operator's intervention, an error of the system.
PASSING = {"08", "40", "53", "55", "57", "58"}
REFUSING = {"28", "3D", "42501", "22023"}
MISSING = {"3F", "42P01", "42703", "42883"}

DRIVER = asyncpg.InterfaceError, asyncpg.InternalClientError  # the driver cannot use the connection

CLOSED = "the server was stopped, or something between closed the connection"
REMEDIES = {
    "08": CLOSED,
    "28P01": "check database.user and database.password_file",
    "28": "check database.user, and the line of pg_hba.conf that is meant for it",
    "3D": "create the database, or correct database.name",
    "42501": "grant the login what it lacks; `argus-wg migrate` prints the statements",
    "22023": "`argus-wg migrate` makes the roles that are missing",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left: raise max_connections, or end other sessions",
    "55P03": "another session holds a lock on it; pg_stat_activity shows which",
    "57014": "it took longer than it may",
    "57P03": "the server is starting or stopping",
    "MISSING": "the schema is not as it should be; run `argus-wg migrate`",
}


async def connect(
    target: Target,
    *,
    application: str,
    role: Role | None = None,
    timeout: float = 10.0,
    statement_timeout: float = 120.0,
    lock_timeout: float = 15.0,
) -> Connection:
    """A connection that acts as `role` alone, whatever else its login may be; None = as its login.

    `application` is what the server's administrator sees. Times are seconds; 0 = without limit. Raises
    `DatabaseUnreachable`, `DatabaseRefused`.
    """
    settings = {
        "application_name": application,
        "timezone": "UTC",
        "statement_timeout": f"{statement_timeout * 1000:.0f}",
        "lock_timeout": f"{lock_timeout * 1000:.0f}",
        "idle_in_transaction_session_timeout": "120000",  # a sleeping host holds no lock for longer
        "tcp_keepalives_idle": "30",  # the server finds out about a host that is gone, and frees its locks
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        # Without it SET LOCAL does not reach Citus' shards, and their policies show nothing. To a server
        # without Citus it is a name like any other.
        "citus.propagate_set_commands": "local",
    }
    if role:
        settings["role"] = role
    with errors(target):
        return await asyncpg.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            database=target.database,
            password=target.password or None,
            ssl=target.context or target.tls,
            timeout=timeout,
            # The server's own limit comes first, unless the server is gone.
            command_timeout=statement_timeout + 10 if statement_timeout else None,
            server_settings=settings,
        )


@asynccontextmanager
async def scope(connection: Connection, org_id: int, clearance: int | None = None) -> AsyncIterator[None]:
    """A transaction that sees and writes one organisation's rows; a reader's, those up to `clearance`."""
    async with connection.transaction():
        await enter(connection, org_id)
        if clearance is not None:
            await connection.execute(f"set local app.clearance = {clearance:d}")
        yield


async def enter(connection: Connection, org_id: int) -> None:
    """From here to the end of the transaction: this organisation.

    One statement at a time, and no set_config(): Citus sends the text of a SET LOCAL on to the shards.
    """
    await connection.execute(f"set local app.org_id = {org_id:d}")


async def leave(connection: Connection) -> None:
    """Close; a connection that does not answer is dropped."""
    try:
        await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


@contextmanager
def errors(target: Target) -> Iterator[None]:
    """What the driver raises inside becomes a `StoreError`."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise explain(error, target) from error


def explain(error: BaseException, target: Target) -> StoreError:
    """What went wrong with this database, what mends it, and whether to try again."""
    place = f"the database {target}"
    error = _first(error)
    if isinstance(error, asyncpg.PostgresError):
        return _answered(error, place)
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseRefused(
            f"{place}: its certificate does not hold: {error.verify_message}",
            "set database.ca_file to the authority that signed it, and database.address to a name in it",
        )
    if isinstance(error, ssl.SSLError):
        return DatabaseUnreachable(f"{place}: TLS failed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return DatabaseUnreachable(
            f"{place}: no answer in time", "is the server up, and reachable from here?"
        )
    if isinstance(error, OSError):
        return _not_reached(error, place)
    return DatabaseUnreachable(f"{place}: {error}", CLOSED)


def _first(error: BaseException) -> BaseException:
    """A transaction cannot be ended when its connection is gone: what came before says why it is."""
    before = error.__context__
    if isinstance(error, DRIVER) and isinstance(before, (OSError, asyncpg.PostgresError, *DRIVER)):
        return _first(before)
    return error


def _not_reached(error: OSError, place: str) -> StoreError:
    text = str(error)
    if "rejected SSL upgrade" in text:  # the driver has no class for it
        return DatabaseRefused(
            f"{place}: the server speaks no TLS",
            "turn ssl on there, or set database.tls to disable if the way to it is safe",
        )
    if isinstance(error, socket.gaierror):
        remedy = "correct database.address, or see to name resolution"
    elif isinstance(error, PermissionError):
        remedy = "let this user into the directory of the socket"
    elif isinstance(error, FileNotFoundError) or f"[Errno {errno.ECONNREFUSED}]" in text:
        remedy = "start the server, or correct database.address"
    elif isinstance(error, ConnectionError):
        remedy = CLOSED
    else:
        remedy = "is the server up, and reachable from here?"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or text
    return DatabaseUnreachable(f"{place}: {reason}", remedy)


def _answered(error: asyncpg.PostgresError, place: str) -> StoreError:
    state = error.sqlstate or ""
    names = (state, state[:2])
    kind: type[StoreError] = StoreError
    remedy = next((REMEDIES[name] for name in names if name in REMEDIES), "")
    if any(name in REFUSING for name in names):
        kind = DatabaseRefused
    elif any(name in MISSING for name in names):
        kind, remedy = SchemaMismatch, REMEDIES["MISSING"]
    elif state[:2] in PASSING:
        kind = DatabaseUnreachable
    return kind(f"{place}: {one_line(error)}", remedy)


def one_line(error: asyncpg.PostgresError) -> str:
    """What the server said, without the driver's lines for details and hints."""
    return str(error.args[0]) if error.args else type(error).__name__
