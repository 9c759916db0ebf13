"""Runs commands that work on the records, in this process or interrupted in another."""

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
from tests.kit.servers.postgres import PostgresServer

INTERRUPTED = "argus-wg: interrupted; finished steps stay, run the command again to continue"


def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the environment, so that only the configuration file names the database."""
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def configuration(directory: Path, where: Target, more: str = "") -> Path:
    """A configuration file that names the database."""
    path = directory / "argus-wg.yml"
    path.write_text(
        f"database:\n  address: {where.host}\n  name: {where.database}\n  user: {where.user}\n{more}"
    )
    return path


def command(module: ModuleType, *words: str | Path) -> int:
    """Runs a command; its exit code. Exceptions are not caught."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args([str(word) for word in words]))
    return code


@contextlib.contextmanager
def holding(server: PostgresServer, where: Target, lock: str) -> Iterator[None]:
    """Another session that holds a lock."""
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
    """Starts argus-wg and interrupts it after its first line: (exit code, lines on standard error)."""
    start = [sys.executable, "-m", "exporter.cli", *map(str, words)]
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = [first, *process.stderr]
    return process.returncode, [line.rstrip("\n") for line in said]
