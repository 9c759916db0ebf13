"""Backup and restore with the commands that docs/storage.md shows, on real servers."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from exporter.store.database.connection import Connection
from exporter.store.database.settings import Target
from tests.kit.pages import PAGES
from tests.kit.servers.postgres import PostgresServer
from tests.kit.store.schema import ask, migrated, populate, with_connection

SECTION = PAGES["docs/storage.md"].partition("## Backup and restore")[2]


def dump_command(server: PostgresServer, where: Target) -> list[str]:
    """The page's `pg_dump`, with the programs of the server's version and its address."""
    line = next(line for line in SECTION.splitlines() if line.startswith("pg_dump "))
    program, *options = shlex.split(line)
    place = ["-h", where.host, "-p", str(where.port), "-U", where.user]
    return [str(server.binaries / program), *place, *options, where.database]


def test_a_backup_by_the_page_restores_every_row(
    postgres: PostgresServer, database: Target, tmp_path: Path
) -> None:
    """The documented pg_dump passes row-level security and keeps the rows of each organisation."""
    login = migrated(database)

    async def work(owner: Connection) -> None:
        await populate(owner, ["acme", "umbrella"], clearances=(0, 5))

    with_connection(login, work, role="argus_owner")
    query = "select count(*) from argus.peer_state"
    before = ask(database, query)
    command = [word.replace("argus.dump", f"{tmp_path}/argus.dump") for word in dump_command(postgres, login)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    postgres.sql("create database restored")
    try:
        restored = replace(database, database="restored")
        place = ["-h", restored.host, "-p", str(restored.port), "-U", restored.user, "-d", "restored"]
        subprocess.run(
            [str(postgres.binaries / "pg_restore"), "--exit-on-error", *place, f"{tmp_path}/argus.dump"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert ask(restored, query) == before
        assert before
    finally:
        postgres.sql("drop database restored")
