"""The user that the private PostgreSQL runs as, and how a program is started as that user.

PostgreSQL refuses to run as root. A daemon that is not root runs it as its own user. A daemon that is root
runs it as the owner of the state directory or, if that is root, as `postgres`, or else as `nobody`.
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
    """A user and a group by number. `switch`: this process is root and has to change to them."""

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
        """The command that runs a program as this user, without privileges.

        `at_death`: the signal that the program gets when the thread that started it ends. `name`: the program
        needs a user with a name; a user without one gets that of `nobody`.
        """
        uid, gid = (self.uid, self.gid) if self.switch else (-1, -1)
        alias = _NOBODY if name and self.nameless else -1
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        numbers = [str(number) for number in (at_death.value, os.getpid(), uid, gid, alias)]
        return [*launch, *numbers, str(program), *map(str, arguments)]

    @property
    def nameless(self) -> bool:
        """Whether the user has no name: in some containers, or with DynamicUser= without libnss-systemd."""
        return str(self) == str(self.uid)

    def give(self, path: Path) -> None:
        """Make this user the owner of a file that this process created."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def account_for(directory: Path) -> Account:
    """The user that runs a server with its files in this directory. Raises EmbeddedFailed, OSError."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    owner = directory.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, switch=True)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if name == "nobody":
                _log.warning(
                    "PostgreSQL runs as nobody, as other services may do; better add a user `postgres`"
                )
            return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise EmbeddedFailed(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody`",
        "add one with `useradd --system postgres`, or run argus-wg as an ordinary user",
    )


def environment() -> dict[str, str]:
    """The environment of started programs: no PG* variables and no secrets of the daemon."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def run(
    account: Account, program: Path, *arguments: str | Path, patience: float, name: bool = False
) -> tuple[int, str]:
    """Run a program; its exit status and its output. Raises EmbeddedFailed after `patience` seconds."""
    process = await start(account.command(program, *arguments, at_death=signal.SIGKILL, name=name))
    try:
        output, _ = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        raise EmbeddedFailed(f"{program} did not end within {patience:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await process.wait(), output.decode(errors="replace").strip()


async def start(command: Sequence[str]) -> asyncio.subprocess.Process:
    """Start a command in its own session, so that Ctrl-C in a terminal reaches only the daemon."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env=environment(),
        start_new_session=True,
    )
