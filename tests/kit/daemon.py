"""Userspace interfaces that tests change while they are read, and the daemon that reads them."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.paths import PROJECT
from tests.kit.servers.uapiserver import UapiServer, base64_key, request
from tests.kit.web import until

PATIENCE = 30.0  # seconds
SERVES = re.compile(r"serves (\S+) on 127\.0\.0\.1:(\d+)")


def key(number: int) -> str:
    """A public key in base64, as in metrics and in the directory."""
    return base64_key(f"{number:064x}")


@dataclass
class Interface:
    """A userspace interface that answers each request with `reply()` while its gate is open."""

    reply: Callable[[], str]
    gate: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    waiting: threading.Event = field(default_factory=threading.Event)  # set by each request

    def dialogue(self, connection: socket.socket, _: threading.Event) -> None:
        request(connection)
        self.requests += 1
        self.waiting.set()
        self.gate.wait(PATIENCE)
        connection.sendall(self.reply().encode())


@contextlib.contextmanager
def interface(
    folder: Path, name: str, reply: Callable[[], str], *, closed: bool = False
) -> Iterator[Interface]:
    """Serves the interface `name` on a socket in `folder`. Its gate is open unless `closed` is set."""
    made = Interface(reply)
    if not closed:
        made.gate.set()
    with UapiServer(folder / f"{name}.sock", made.dialogue):
        try:
            yield made
        finally:
            made.gate.set()


def reply_of(peers: list[int]) -> str:
    """The reply of an interface with these peers. Each has received as many bytes as its number."""
    lines = [f"private_key={'7' * 64}\nlisten_port=51820\n"]
    lines += [f"public_key={peer:064x}\nrx_bytes={peer}\ntx_bytes=1\n" for peer in peers]
    return "".join([*lines, "errno=0\n\n"])


def make_stale_socket(path: Path) -> None:
    """Creates a socket file without a process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


@dataclass(frozen=True)
class Daemon:
    """A running daemon with its files."""

    process: subprocess.Popen[bytes]
    folder: Path  # UAPI sockets, directory.yml and the log

    @property
    def port(self) -> int:
        (found,) = SERVES.findall(self.log())
        return int(found[1])

    @property
    def directory(self) -> Path:
        return self.folder / "directory.yml"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def said(self, text: str) -> int:
        """The number of log lines that contain the text."""
        return sum(text in line for line in self.log().splitlines())

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metrics(self) -> str:
        status, page = self.get("/metrics")
        assert status == 200
        return page

    def names(self) -> dict[str, str]:
        """Public key → name of each peer with a name. Peers without a name have their key as `peer`."""
        found = re.findall(r"^wireguard_peer_info\{(.*)\} 1$", self.metrics(), re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text)) for text in found]
        return {one["public_key"]: one["peer"] for one in labels if one["peer"] != one["public_key"]}

    def write_names(self, **names: str) -> None:
        """Replaces the directory file; `p7="x"` names the peer with key 7."""
        lines = [f"  {key(int(peer[1:]))}: {{name: {name}}}\n" for peer, name in names.items()]
        replace(self.directory, "peers:\n" + "".join(lines))


def replace(file: Path, text: str) -> None:
    """Replaces a file atomically, as editors do."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "exporter.cli", "serve", *arguments]


@contextlib.contextmanager
def daemon(
    folder: Path,
    config: str = "",
    *,
    netlink: bool = False,
    program: Callable[..., list[str]] = command,
) -> Iterator[Daemon]:
    """Runs a daemon on a free port that reads the UAPI sockets in `folder`, and with `netlink` the kernel."""
    file = folder / "argus.yml"
    name = "" if "gateway:" in config else "gateway: gw\n"
    directory = "" if "directory:" in config else "directory: {wg_quick: []}\n"
    recording = "" if "recording:" in config else "recording: {enabled: false}\n"
    file.write_text(
        f'listen: "127.0.0.1:0"\n{name}{config}{directory}{recording}state_directory: {folder}/state\n'
        f"sources: {{uapi_directory: {folder}, netlink: {str(netlink).lower()}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(program("--config", str(file)), cwd=PROJECT, stdout=log, stderr=log)
    running = Daemon(process, folder)
    try:
        until(lambda: "ready: " in running.log() or process.poll() is not None)
        assert process.poll() is None, running.log()
        yield running
    finally:
        process.kill()
        process.wait(PATIENCE)


def directory_section(folder: Path, reload_every: str) -> str:
    """The section of the configuration that names the directory file."""
    return f"directory: {{files: [{folder}/directory.yml], wg_quick: [], reload_every: {reload_every}}}\n"
