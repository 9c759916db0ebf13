"""Traffic in the tunnels: one thread, one socket for each sender and each answering gateway."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from exporter.demo.namespaces import inside
from exporter.demo.plan import Flow, Mesh

PORT = 7  # echo (RFC 862), except that the reply has the length that the request asks for
LENGTH_BYTES = 2  # the first bytes of a request: the length of the reply
TICK = 0.05  # seconds between two rounds of sending


@dataclass(slots=True)
class _Sender:
    flow: Flow
    socket: socket.socket
    began: float
    due: float = 0.0  # datagrams, with the fraction left by the previous round
    checked: float = field(init=False)

    def __post_init__(self) -> None:
        self.checked = self.began

    def send(self, now: float) -> None:
        """Sends the datagrams due since the previous round; none in the idle part of the flow's period."""
        elapsed, self.checked = now - self.checked, now
        if (now - self.began) % self.flow.period >= self.flow.active:
            return
        self.due += min(elapsed, 1.0) * self.flow.per_second
        payload = self.flow.answer.to_bytes(LENGTH_BYTES, "big").ljust(self.flow.size, b"\0")
        while self.due >= 1:
            self.due -= 1
            with contextlib.suppress(OSError):  # a tunnel that is down loses datagrams
                self.socket.send(payload)


class Traffic:
    """Sends every flow of the mesh, from `start` until `stop`."""

    def __init__(self, mesh: Mesh) -> None:
        now = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._senders: dict[str, _Sender] = {}
        self._answering: list[socket.socket] = []
        try:
            for gateway in mesh.gateways:
                self._answering.append(inside(gateway.namespace, _answering_socket))
            for node in mesh.nodes:
                if node.flow:
                    sending = inside(node.namespace, partial(_sending_socket, node.flow))
                    self._senders[node.name] = _Sender(node.flow, sending, now)
        except BaseException:
            self._close()
            raise

    def start(self) -> None:
        self._thread.start()

    def silence(self, name: str) -> None:
        """Ends the flow of one node."""
        with self._lock:
            self._senders.pop(name).socket.close()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._close()

    def _run(self) -> None:
        poll = select.poll()
        by_descriptor = {answering.fileno(): answering for answering in self._answering}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        while not self._ended.is_set():
            with self._lock:
                now = time.monotonic()
                for sender in self._senders.values():
                    sender.send(now)
            due = now + TICK
            while (left := due - time.monotonic()) > 0:
                for descriptor, _ in poll.poll(left * 1000):
                    _answer(by_descriptor[descriptor])

    def _close(self) -> None:
        for each in (*self._answering, *(sender.socket for sender in self._senders.values())):
            each.close()


def _answering_socket() -> socket.socket:
    answering = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    answering.setblocking(False)
    answering.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    answering.bind(("::", PORT))
    return answering


def _sending_socket(flow: Flow) -> socket.socket:
    sending = socket.socket(socket.AF_INET6 if ":" in flow.target else socket.AF_INET, socket.SOCK_DGRAM)
    sending.setblocking(False)
    sending.connect((flow.target, PORT))
    return sending


def _answer(answering: socket.socket) -> None:
    with contextlib.suppress(OSError):  # as for senders: a datagram that cannot be sent is lost
        question, address = answering.recvfrom(65535)
        if length := int.from_bytes(question[:LENGTH_BYTES], "big"):
            answering.sendto(b"\0" * length, address)
