"""The interface by which the writer and the maintenance get their connections."""

from __future__ import annotations

from typing import Protocol

from exporter.store.database.connection import Connection
from exporter.store.errors import StoreError


class Opener(Protocol):
    """Opens connections to the database of the records, as `store.access.DatabaseAccess` does."""

    async def open(self) -> Connection:
        """A connection of a collector, after the schema was checked. Raises StoreError."""

    async def open_as_owner(self) -> Connection:
        """A connection of the owner, without a statement timeout. Raises StoreError; DatabaseRefused if the
        login is no member of argus_owner."""

    def explain(self, error: BaseException) -> StoreError:
        """The StoreError that an error of the driver means."""
