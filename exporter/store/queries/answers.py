"""How a query fetches its rows, as instances of a class with an attribute for each column."""

from __future__ import annotations

from operator import itemgetter
from typing import TypeVar

import asyncpg

from exporter.store.database.connection import Connection


class AnswerRow(asyncpg.Record):
    """A row as the driver creates it; the columns are attributes, and nothing is copied. Instants are UNIX
    seconds."""

    def __init_subclass__(cls) -> None:
        for name in cls.__annotations__:
            setattr(cls, name, property(itemgetter(name)))


Row = TypeVar("Row", bound=AnswerRow)


async def fetch(connection: Connection, answer: type[Row], query: str, *arguments: object) -> list[Row]:
    """The rows of a query, planned for its arguments.

    After five executions the server would choose one plan for all ranges of time. That plan cannot choose
    between looking up each peer and reading a few minutes of all peers, and takes five times as long.
    """
    await connection.execute("set local plan_cache_mode = force_custom_plan")
    return await connection.fetch(query, *arguments, record_class=answer)
