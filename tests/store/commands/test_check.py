"""`argus-wg check`: findings about the recording, with their remedies."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.check.finding import Finding
from exporter.check.records import RECORDS, STATE, records
from exporter.config import Config, DatabaseSettings, RecordingSettings
from exporter.store.database import migrate
from exporter.store.database.connection import Connection
from exporter.store.database.settings import Target
from tests.kit.privilege import without_privilege
from tests.kit.servers.postgres import available
from tests.kit.store.schema import migrated, with_connection


def found(config: Config, **environ: str) -> dict[str, Finding]:
    """Findings by check. Every finding that is not ok has a remedy."""
    findings = list(records(config, environ))
    assert all(bool(one.remedy) == (one.status != "ok") for one in findings)
    return {one.check: one for one in findings}


def recording_in(state: Path, target: Target | None = None, **login: str) -> Config:
    database = DatabaseSettings()
    if target:
        database = DatabaseSettings(target.host, target.database, login.get("user", target.user))
    return Config(state_directory=state, database=database)


def sql(target: Target, *statements: str) -> None:
    async def work(connection: Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    with_connection(target, work)


@pytest.fixture
def superuser(database: Target) -> Target:
    return database


def test_recording_that_is_off_needs_nothing(tmp_path: Path) -> None:
    """With recording off, neither a state directory nor a database is checked."""
    config = replace(recording_in(tmp_path / "none/at/all"), recording=RecordingSettings(enabled=False))
    assert [(one.check, one.status) for one in records(config, {})] == [(RECORDS, "ok")]


def test_a_database_that_serve_would_migrate_is_ok(superuser: Target, tmp_path: Path) -> None:
    """Without a schema, a login that may create it is ok; any other login fails."""
    assert f"from 0 to {migrate.latest()}" in found(recording_in(tmp_path, superuser))[RECORDS].message
    sql(superuser, "create role checked_bare login")
    try:
        one = found(recording_in(tmp_path, superuser, user="checked_bare"))[RECORDS]
        assert (one.status, "does not exist" in one.message) == ("failed", True)
    finally:
        sql(superuser, "drop role checked_bare")


def test_what_a_login_may_do(superuser: Target, tmp_path: Path) -> None:
    """An owner is ok, a collector is a warning as it may not maintain, and any other login fails."""
    migrated(superuser)
    assert found(recording_in(tmp_path, superuser, user="argus"))[RECORDS].status == "ok"
    sql(
        superuser,
        "create role checked_collector login in role argus_collector",
        "create role checked_reader login in role argus_reader",
    )
    try:
        one = found(recording_in(tmp_path, superuser, user="checked_collector"))[RECORDS]
        assert (one.status, "argus-wg maintain" in one.remedy) == ("warning", True)
        one = found(recording_in(tmp_path, superuser, user="checked_reader"))[RECORDS]
        assert (one.status, one.remedy) == ("failed", "grant argus_collector to it")
    finally:
        sql(superuser, "drop role checked_collector", "drop role checked_reader")


def test_a_schema_of_a_newer_version_fails(superuser: Target, tmp_path: Path) -> None:
    """A schema of a newer version fails, and its version is named."""
    owner = migrated(superuser)
    sql(owner, "insert into argus.migration (version, name) values (9999, 'of the future')")
    one = found(recording_in(tmp_path, owner))[RECORDS]
    assert one.status == "failed"
    assert "9999" in one.message


def test_a_database_that_cannot_be_reached_fails(tmp_path: Path) -> None:
    """With the address from the environment, the message names the socket's directory, with a remedy."""
    one = found(recording_in(tmp_path), PGHOST=str(tmp_path), PGUSER="x")[RECORDS]
    assert (one.status, str(tmp_path) in one.message) == ("failed", True)
    assert one.remedy == "start the server, or correct database.address"


def test_a_wrong_setting_fails_with_its_name(tmp_path: Path) -> None:
    """A missing password file fails, and the message names it."""
    database = DatabaseSettings(str(tmp_path), password_file=tmp_path / "password")
    one = found(Config(state_directory=tmp_path, database=database))[RECORDS]
    assert (one.status, str(tmp_path / "password") in one.message) == ("failed", True)


def test_a_private_server_is_named(tmp_path: Path) -> None:
    """Without a configured database, the message names the PostgreSQL that would run. Nothing is created."""
    available("15")
    state = tmp_path / "state"
    one = found(recording_in(state))[RECORDS]
    assert one.status == "ok"
    assert one.message.startswith("a private one: PostgreSQL ")
    assert one.message.endswith(f"which creates {state}/postgres")
    assert not state.exists()


def test_a_host_without_postgresql_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PostgreSQL on the host, the finding names the command that installs it."""
    monkeypatch.setattr("exporter.store.embedded.postgres.directories", lambda: iter(()))
    one = found(recording_in(tmp_path))[RECORDS]
    assert (one.status, "apt-get install postgresql" in one.message + one.remedy) == ("failed", True)


def test_records_of_a_version_that_is_not_here_fail(tmp_path: Path) -> None:
    """Data of another major version fails, and the message names that version."""
    available("15")
    data = tmp_path / "postgres/data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    one = found(recording_in(tmp_path))[RECORDS]
    assert (one.status, "written by PostgreSQL 9" in one.message) == ("failed", True)


def test_a_state_directory_that_may_not_be_written(tmp_path: Path) -> None:
    """A state directory without write permission fails, with the command that creates it."""
    tmp_path.chmod(0o500 if os.geteuid() else 0o755)
    with without_privilege():
        one = found(recording_in(tmp_path / "state"))[STATE]
    tmp_path.chmod(0o755)
    assert one.status == "failed"
    assert one.remedy.startswith("run `install -d -o ")


def test_little_room_is_a_warning(tmp_path: Path) -> None:
    """A disk with less free space than the spool may use is a warning."""
    most = shutil.disk_usage(tmp_path).total >> 20
    config = replace(recording_in(tmp_path), recording=RecordingSettings(spool_megabytes=most + 1))
    one = found(config)[STATE]
    assert (one.status, "spool_megabytes" in one.remedy) == ("warning", True)
