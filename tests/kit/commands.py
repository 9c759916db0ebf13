"""Commands that work on the records: run here, or interrupted elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from exporter.store.database.settings import Target
from tests.kit.postgres import PostgresServer

INTERRUPTED = "argus-wg: interrupted; what was done is kept, run the command again to continue"


def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration file alone says where the database is."""
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def configuration(directory: Path, where: Target, more: str = "") -> Path:
    """A file that names the database."""
    path = directory / "argus-wg.yml"
    path.write_text(
        f"database:\n  address: {where.host}\n  name: {where.database}\n  user: {where.user}\n{more}"
    )
    return path


def command(module: ModuleType, *words: str | Path) -> int:
    """Its exit code; what it raises is not caught."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args([str(word) for word in words]))
    return code


@contextlib.contextmanager
def holding(server: PostgresServer, where: Target, lock: str) -> Iterator[None]:
    """Another session, which has executed a query that locks something."""
    psql = [server.binaries / "psql", "-X", "-q", "-h", where.host, "-U", where.user, "-d", where.database]
    with subprocess.Popen(
        list(map(str, psql)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{lock};\n\\echo held\n")
        process.stdin.flush()
        while "held" not in process.stdout.readline():
            pass
        yield
        process.stdin.close()


def interrupted(*words: str | Path) -> tuple[int, list[str]]:
    """Starts argus-wg, and sends it an interrupt as soon as it has said something: its exit code, and the
    lines on its standard error."""
    start = [sys.executable, "-m", "exporter.cli", *map(str, words)]
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = [first, *process.stderr]
    return process.returncode, [line.rstrip("\n") for line in said]
