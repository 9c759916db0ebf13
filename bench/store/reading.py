"""What readers ask, by a login that is nothing but a reader's."""

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
STRIDE = 997  # from one peer to the next that is asked for: its rows are not at hand from just now
HISTORIES = 10  # that are compared

Answer = Sequence[Any]  # rows, of one kind for each question


class Reader:
    """Asks about an organisation's snapshots within (`start`, `end`], UNIX seconds of one day (UTC)."""

    def __init__(self, database: Database, org_id: int, start: float, end: float) -> None:
        self._database = database
        self._connection = database.connect(database.reader, "argus_reader")
        self._org_id = org_id
        self._range = start, end
        self._day = datetime.fromtimestamp(end, UTC).date()
        self._turn = 0
        self._peers = sorted(peer.peer_id for peer in database.run(self._ask(LATEST)))

    def times(self, rounds: int) -> dict[str, list[float]]:
        """Seconds by question, all of them in turn, after a round that does not count. What is timed is a
        transaction: begun, put in its scope, asked, answered with rows, ended."""

        def contender(question: str) -> Callable[[], float]:
            return lambda: self._database.timed(lambda: self._ask(question))

        contenders = {question: contender(question) for question in QUESTIONS}
        interleave(contenders, 1)
        return interleave(contenders, rounds)

    def answers(self) -> dict[str, Answer]:
        """The rows of each answer, in order; histories of some peers."""
        self._turn = 0
        asked = {question: HISTORIES if question == HISTORY else 1 for question in QUESTIONS}
        return {
            question: sorted(
                tuple(row) for _ in range(times) for row in self._database.run(self._ask(question))
            )
            for question, times in asked.items()
        }

    async def _ask(self, question: str) -> Answer:
        async with scope(self._connection, self._org_id, clearance=0):
            asked = self._connection, self._org_id
            if question == LATEST:
                return await latest(*asked)
            if question == ACTIVE:
                return await active(*asked, *self._range)
            if question == BYTES:
                return await bytes_per_day(*asked, self._day, self._day)
            self._turn += STRIDE
            peer = self._peers[self._turn % len(self._peers)]
            return await history(*asked, peer, *self._range)
