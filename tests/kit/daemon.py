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
from tests.kit.uapiserver import UapiServer, base64_key, request
from tests.kit.web import until

PATIENCE = 30.0  # seconds
SERVES = re.compile(r"serves (\S+) on 127\.0\.0\.1:(\d+)")


def key(number: int) -> str:
    """A public key as it is written in metrics and in the directory."""
    return base64_key(f"{number:064x}")


@dataclass
class Interface:
    """Answers with `reply()` whenever its gate is open. `asked` counts the questions."""

    reply: Callable[[], str]
    gate: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    waiting: threading.Event = field(default_factory=threading.Event)  # set by each question

    def dialogue(self, connection: socket.socket, _: threading.Event) -> None:
        request(connection)
        self.asked += 1
        self.waiting.set()
        self.gate.wait(PATIENCE)
        connection.sendall(self.reply().encode())


@contextlib.contextmanager
def interface(
    folder: Path, name: str, reply: Callable[[], str], *, closed: bool = False
) -> Iterator[Interface]:
    """The interface `name`, whose socket is in `folder`; its gate is open unless it is to be `closed`."""
    made = Interface(reply)
    if not closed:
        made.gate.set()
    with UapiServer(folder / f"{name}.sock", made.dialogue):
        try:
            yield made
        finally:
            made.gate.set()


def told(peers: list[int]) -> str:
    """The reply of an interface with these peers; each has received as many bytes as its number."""
    lines = [f"private_key={'7' * 64}\nlisten_port=51820\n"]
    lines += [f"public_key={peer:064x}\nrx_bytes={peer}\ntx_bytes=1\n" for peer in peers]
    return "".join([*lines, "errno=0\n\n"])


def abandoned(path: Path) -> None:
    """A socket file without a process behind it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))


@dataclass(frozen=True)
class Daemon:
    """A running exporter: its process, and the files it was given."""

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
        """How many lines of the log have this in them."""
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
        """Public key → name of each peer that has one; the others are told by their keys."""
        found = re.findall(r"^wireguard_peer_info\{(.*)\} 1$", self.metrics(), re.MULTILINE)
        labels = [dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text)) for text in found]
        return {one["public_key"]: one["peer"] for one in labels if one["peer"] != one["public_key"]}

    def write_names(self, **names: str) -> None:
        """Replace the directory file; `p7="x"` names the peer of key 7."""
        lines = [f"  {key(int(peer[1:]))}: {{name: {name}}}\n" for peer, name in names.items()]
        replace(self.directory, "peers:\n" + "".join(lines))


def replace(file: Path, text: str) -> None:
    """As editors do: the file is the old or the new one, never half of it."""
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
    """An exporter on a free port that reads the UAPI sockets in `folder`, and with `netlink` the kernel."""
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


def follows(folder: Path, reload_every: str) -> str:
    """The section of the configuration that names the directory file."""
    return f"directory: {{files: [{folder}/directory.yml], wg_quick: [], reload_every: {reload_every}}}\n"
