"""The parts that the queries on samples share."""

from __future__ import annotations

from datetime import date, timedelta

from exporter.store.database.connection import Connection

# A peer in use makes a handshake, and thus a sample, every two minutes (REKEY_AFTER_TIME of WireGuard). Most
# answers about all peers are found in the last minutes, whose rows are adjacent: reading them costs less than
# one look-up for each peer.
NEAR = timedelta(minutes=3)

COMPACTED = "select exists (select from argus.sample_day where org_id = $1 and day between $2 and $3)"


async def any_compacted(connection: Connection, org_id: int, first: date, last: date) -> bool:
    """Whether there are compacted days from `first` to `last`.

    The other queries take the answer as an argument: with false the planner removes the part about compacted
    days from the plan.
    """
    return bool(await connection.fetchval(COMPACTED, org_id, first, last))
