"""The measured queries, as a login that has only the role of a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from bench.contest import interleave
from bench.store.server import Database
from exporter.store.database.connection import scope
from exporter.store.queries.active import active
from exporter.store.queries.daily import bytes_per_day
from exporter.store.queries.history import history
from exporter.store.queries.latest import latest

LATEST, ACTIVE, BYTES, HISTORY = "latest", "active", "bytes", "history"
QUESTIONS = LATEST, ACTIVE, BYTES, HISTORY
STRIDE = 997  # distance between the peers of two histories, so that their rows are not in the cache yet
HISTORIES = 10  # number of histories that are compared

Answer = Sequence[Any]  # rows; their type depends on the question


class Reader:
    """Queries an organisation's snapshots within (`start`, `end`], UNIX seconds within one UTC day."""

    def __init__(self, database: Database, org_id: int, start: float, end: float) -> None:
        self._database = database
        self._connection = database.connect(database.reader, "argus_reader")
        self._org_id = org_id
        self._range = start, end
        self._day = datetime.fromtimestamp(end, UTC).date()
        self._turn = 0
        self._peers = sorted(peer.peer_id for peer in database.run(self._ask(LATEST)))

    def times(self, rounds: int) -> dict[str, list[float]]:
        """Seconds by question: all questions in turn, `rounds` times, after one round that is not counted.
        The time of a question is that of its transaction, with BEGIN, the scope, the query, its rows and
        COMMIT."""

        def contender(question: str) -> Callable[[], float]:
            return lambda: self._database.timed(lambda: self._ask(question))

        contenders = {question: contender(question) for question in QUESTIONS}
        interleave(contenders, 1)
        return interleave(contenders, rounds)

    def answers(self) -> dict[str, Answer]:
        """The sorted rows of each answer; histories of HISTORIES peers."""
        self._turn = 0
        repetitions = {question: HISTORIES if question == HISTORY else 1 for question in QUESTIONS}
        return {
            question: sorted(
                tuple(row) for _ in range(times) for row in self._database.run(self._ask(question))
            )
            for question, times in repetitions.items()
        }

    async def _ask(self, question: str) -> Answer:
        async with scope(self._connection, self._org_id, clearance=0):
            scoped = self._connection, self._org_id
            if question == LATEST:
                return await latest(*scoped)
            if question == ACTIVE:
                return await active(*scoped, *self._range)
            if question == BYTES:
                return await bytes_per_day(*scoped, self._day, self._day)
            self._turn += STRIDE
            peer = self._peers[self._turn % len(self._peers)]
            return await history(*scoped, peer, *self._range)
