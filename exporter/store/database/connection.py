"""Connections to the database, the organisation whose rows they see, and their errors.

`errors` turns every error of the driver into one of exporter/store/errors.py, with a remedy.
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

# SQLSTATEs and classes of them (https://www.postgresql.org/docs/current/errcodes-appendix.html).
# Another try may succeed: connection, deadlock, resources, a lock, an operator's intervention, the system.
PASSING = {"08", "40", "53", "55", "57", "58"}
REFUSING = {"28", "3D", "42501", "22023"}
MISSING = {"3F", "42P01", "42703", "42883"}

DRIVER = asyncpg.InterfaceError, asyncpg.InternalClientError  # the driver cannot use the connection

CHECK_CLOSED = "check whether the server was stopped or something on the network closes connections"
CHECK_REACHABLE = "check that the server is running and reachable from this host"
REMEDIES = {
    "08": CHECK_CLOSED,
    "28P01": "check database.user and database.password_file",
    "28": "check database.user, and the line of pg_hba.conf for this login",
    "3D": "create the database, or correct database.name",
    "42501": "grant the login the missing right; `argus-wg migrate` prints the statements",
    "22023": "run `argus-wg migrate`, which creates missing roles",
    "53100": "free space on the server's disk",
    "53300": "raise max_connections on the server, or end other sessions",
    "55P03": "find the session that holds the lock in pg_stat_activity, or wait for it",
    "57014": "find out why the statement was slow, or who cancelled it",
    "57P03": "wait until the server has started",
    "MISSING": "run `argus-wg migrate`",
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
    """Open a connection that has the rights of `role` alone, or those of its login (None).

    `application`: the name of the session in pg_stat_activity. Times are seconds, 0 = no limit.
    Raises DatabaseUnreachable, DatabaseRefused.
    """
    settings = {
        "application_name": application,
        "timezone": "UTC",
        "statement_timeout": f"{statement_timeout * 1000:.0f}",
        "lock_timeout": f"{lock_timeout * 1000:.0f}",
        "idle_in_transaction_session_timeout": "120000",  # ms; a suspended host holds no lock for longer
        "tcp_keepalives_idle": "30",  # so that the server notices a vanished host and frees its locks
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        # Without it SET LOCAL does not reach the shards of Citus, and their policies hide every row. A server
        # without Citus accepts the unknown setting.
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
            # Longer than the server's own limit: it applies only when the server does not answer.
            command_timeout=statement_timeout + 10 if statement_timeout else None,
            server_settings=settings,
        )


@asynccontextmanager
async def scope(connection: Connection, org_id: int, clearance: int | None = None) -> AsyncIterator[None]:
    """A transaction that reads and writes the rows of one organisation.

    A reader sees its rows up to `clearance`; a collector needs none.
    """
    async with connection.transaction():
        await set_organisation(connection, org_id)
        if clearance is not None:
            await connection.execute(f"set local app.clearance = {clearance:d}")
        yield


async def set_organisation(connection: Connection, org_id: int) -> None:
    """Limit the rest of the transaction to the rows of one organisation.

    SET LOCAL as a statement of its own, and not set_config(): Citus sends only the text of a SET LOCAL to the
    shards.
    """
    await connection.execute(f"set local app.org_id = {org_id:d}")


async def close(connection: Connection) -> None:
    """Close the connection; drop it if the server does not answer within 5 s."""
    try:
        await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


@contextmanager
def errors(target: Target) -> Iterator[None]:
    """Turn an error of the driver in the block into a `StoreError`."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise explain(error, target) from error


def explain(error: BaseException, target: Target) -> StoreError:
    """The `StoreError` for an error of the driver; its class says whether another try may succeed."""
    place = f"the database {target}"
    error = _cause(error)
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, place)
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseRefused(
            f"{place}: its certificate is not valid: {error.verify_message}",
            "set database.ca_file to the authority that signed it, and database.address to a name in it",
        )
    if isinstance(error, ssl.SSLError):
        return DatabaseUnreachable(f"{place}: TLS failed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return DatabaseUnreachable(f"{place}: no answer in time", CHECK_REACHABLE)
    if isinstance(error, OSError):
        return _from_system(error, place)
    return DatabaseUnreachable(f"{place}: {error}", CHECK_CLOSED)


def _cause(error: BaseException) -> BaseException:
    """The error that broke the connection, when `error` only says that the broken connection cannot end its
    transaction."""
    before = error.__context__
    if isinstance(error, DRIVER) and isinstance(before, (OSError, asyncpg.PostgresError, *DRIVER)):
        return _cause(before)
    return error


def _from_system(error: OSError, place: str) -> StoreError:
    text = str(error)
    if "rejected SSL upgrade" in text:  # the driver has no class for it
        return DatabaseRefused(
            f"{place}: the server does not support TLS",
            "turn ssl on there, or set database.tls to disable if the network between is safe",
        )
    if isinstance(error, socket.gaierror):
        remedy = "correct database.address, or fix name resolution"
    elif isinstance(error, PermissionError):
        remedy = "give this user access to the directory of the socket"
    elif isinstance(error, FileNotFoundError) or f"[Errno {errno.ECONNREFUSED}]" in text:
        remedy = "start the server, or correct database.address"
    elif isinstance(error, ConnectionError):
        remedy = CHECK_CLOSED
    else:
        remedy = CHECK_REACHABLE
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or text
    return DatabaseUnreachable(f"{place}: {reason}", remedy)


def _from_server(error: asyncpg.PostgresError, place: str) -> StoreError:
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
    """The server's message, without the lines for details and hints that the driver adds."""
    return str(error.args[0]) if error.args else type(error).__name__
