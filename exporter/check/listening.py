"""Checks of the addresses: whether each is free, and who can read the metrics there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from exporter.check.finding import Finding, failed, good, warning
from exporter.config import Config
from exporter.errors import InputError
from exporter.input.listenaddress import ListenAddress
from exporter.web.configuration import webconfig
from exporter.web.configuration.webconfig import WebConfig
from exporter.web.connections.listen import ListenError, listen

PROC = Path("/proc")
TCP_LISTEN = "0A"  # state of a socket in /proc/net/tcp (include/net/tcp_states.h)


def addresses(settings: Config) -> Iterator[Finding]:
    """Binds each address for a moment, in the same way as the server."""
    for address in settings.listen:
        check = f"listen {address}"
        try:
            asyncio.run(_try(address))
        except ListenError as error:
            yield _taken(check, address, error)
        else:
            yield good(check, "the address is free" if address.port else "any free port")


async def _try(address: ListenAddress) -> None:
    for listener in await listen([(address.host, address.port)]):
        listener.close()


def _taken(check: str, address: ListenAddress, error: ListenError) -> Finding:
    holders = listeners(address.port)
    if holders and all(_is_exporter(words) for words in holders.values()):
        return good(check, f"the exporter already listens there ({_processes(holders)})")
    held = f"; used by {_processes(holders)}" if holders else ""
    return failed(check, error.problem + held, error.remedy)


def listeners(port: int) -> dict[int, list[str]]:
    """Process number → command line of each process on a TCP port that this user can see in /proc."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    found = {}
    for process in PROC.iterdir() if inodes else ():
        if process.name.isdigit() and _holds(process, inodes):
            found[int(process.name)] = _command(process)
    return found


def _listening(port: int) -> Iterator[str]:
    """Inodes of the listening sockets on a port in this network namespace (proc_pid_net(5))."""
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _holds(process: Path, inodes: set[str]) -> bool:
    """Whether a process has one of the sockets open; false if it ended or this user may not see."""
    try:
        return any(str(link.readlink()) in inodes for link in (process / "fd").iterdir())
    except OSError:
        return False


def _command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _is_exporter(words: list[str]) -> bool:
    ours = any(Path(word).name == "argus-wg" or word == "exporter.cli" for word in words)
    return ours and "serve" in words


def _processes(holders: dict[int, list[str]]) -> str:
    return ", ".join(f"{Path(words[0]).name if words else '?'}, pid {pid}" for pid, words in holders.items())


def protection(settings: Config) -> Iterator[Finding]:
    """Whether an address beyond loopback is protected by a login and TLS."""
    check = "authentication"
    outside = [str(address) for address in settings.listen if not address.loopback]
    if not outside:
        yield good(check, "only this host can reach the server")
        return
    try:
        web = webconfig.load(settings.web_config) if settings.web_config else WebConfig()
    except InputError:
        return  # reported for the file itself
    where = ", ".join(outside)
    file = settings.web_config or "web.yml, named by `web_config`"
    if not web.authenticates:
        message = f"every host that reaches {where} can read the metrics"
        yield warning(check, message, f"add `basic_auth_users` to {file}, or listen only on 127.0.0.1")
    elif not web.tls:
        message = f"passwords for {where} cross the network unencrypted"
        yield warning(check, message, f"add `tls_server_config` to {file}")
    else:
        yield good(check, f"{where} requires a {'password' if web.users else 'client certificate'}, over TLS")
