"""Who the private PostgreSQL runs as, and how a program is started under that account.

PostgreSQL refuses to run as root, and rightly. A daemon that is not root runs it as itself; a daemon that is
runs it as whoever owns the state directory, and where that is root, as `postgres` or else `nobody`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.store.errors import EmbeddedFailed

_log = logging.getLogger("argus.postgres")

_NOBODY = 65534

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and a group by number. `switch`: they are not ours, and we are root."""

    uid: int
    gid: int
    switch: bool

    def __str__(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def command(
        self, program: Path, *arguments: str | Path, at_death: signal.Signals, name: bool = False
    ) -> list[str]:
        """The program under this account, without privileges, signalled when the thread that starts it ends.

        `name`: it wants the user to have one, if need be that of `nobody`.
        """
        uid, gid = (self.uid, self.gid) if self.switch else (-1, -1)
        alias = _NOBODY if name and self.nameless else -1
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        numbers = [str(number) for number in (at_death.value, os.getpid(), uid, gid, alias)]
        return [*launch, *numbers, str(program), *map(str, arguments)]

    @property
    def nameless(self) -> bool:
        """Some users are but a number: in containers, and systemd's own where libnss-systemd is missing."""
        return str(self) == str(self.uid)

    def give(self, path: Path) -> None:
        """Makes it the owner of what we made."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def account_for(directory: Path) -> Account:
    """Who is to run a server whose files are in this directory. Raises EmbeddedFailed, OSError."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    owner = directory.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, switch=True)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if name == "nobody":
                _log.warning("PostgreSQL runs as nobody, as other services may: better add a user `postgres`")
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedFailed(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`: add one with "
        "`useradd --system postgres`, or run argus-wg as an ordinary user"
    )


def environment() -> dict[str, str]:
    """What programs see of ours: nothing that speaks to PostgreSQL, and no secrets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def run(
    account: Account, program: Path, *arguments: str | Path, patience: float, name: bool = False
) -> tuple[int, str]:
    """Exit status and everything that was said. Raises EmbeddedFailed when it takes longer, in seconds."""
    process = await start(account.command(program, *arguments, at_death=signal.SIGKILL, name=name))
    try:
        said, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        raise EmbeddedFailed(f"{program} did not end within {patience:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await process.wait(), said.decode(errors="replace").strip()


async def start(command: Sequence[str]) -> asyncio.subprocess.Process:
    """Starts a command in a session of its own: a terminal's Ctrl-C is for the daemon, which then ends it."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env=environment(),
        start_new_session=True,
    )
