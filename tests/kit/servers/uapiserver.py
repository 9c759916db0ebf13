"""A UAPI server that replays a dialogue, and an interface as Argus and as wg(8) read it, for comparison."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from exporter.model import Device

Dialogue = Callable[[socket.socket, threading.Event], None]
Row = tuple[str, ...]


class UapiServer:
    """Listens on a Unix socket, and calls `dialogue` with each connection on its own thread.

    The dialogue gets the connection, which the server closes, and an event that is set when the server ends.
    """

    def __init__(self, path: Path, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._path = path
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()

    def __enter__(self) -> UapiServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ending.is_set():
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):  # a client may close early
            self._dialogue(connection, self._ending)


def request(connection: socket.socket) -> bytes:
    """The request of the client, up to its blank line."""
    asked = b""
    while not asked.endswith(b"\n\n") and (received := connection.recv(1)):
        asked += received
    return asked


def like_boringtun(reply: bytes) -> Dialogue:
    """Answers `get=1` and closes."""

    def dialogue(connection: socket.socket, _: threading.Event) -> None:
        if request(connection) == b"get=1\n\n":
            connection.sendall(reply)

    return dialogue


def like_wireguard_go(reply: bytes) -> Dialogue:
    """Answers each `get=1` and keeps the connection open."""

    def dialogue(connection: socket.socket, _: threading.Event) -> None:
        while request(connection) == b"get=1\n\n":
            connection.sendall(reply)

    return dialogue


def product_rows(device: Device) -> tuple[Row, set[Row]]:
    """The interface and its peers in the columns of `wg show IF dump`; of a secret key, whether it is set."""
    fwmark = f"{device.fwmark:#x}" if device.fwmark else "off"
    interface = (device.public_key or "(none)", str(device.listen_port), fwmark)
    columns = (device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes)
    peers: set[Row] = {
        (
            peer.public_key,
            str(peer.has_preshared_key),
            peer.endpoint or "(none)",
            ",".join(peer.allowed_ips) or "(none)",
            str(handshake),
            str(received),
            str(transmitted),
            str(peer.persistent_keepalive or "off"),
        )
        for peer, handshake, received, transmitted in zip(*columns, strict=True)
    }
    return interface, peers


def wg_rows(name: str) -> tuple[Row, set[Row]]:
    """The output of wg(8) for the interface; of a secret key, whether it is set."""
    command = ["wg", "show", name, "dump"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    interface, *peers = (tuple(line.split("\t")) for line in shown.splitlines())
    return interface[1:], {(peer[0], str(peer[1] != "(none)"), *peer[2:]) for peer in peers}


def base64_key(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
