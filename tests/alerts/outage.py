"""A mesh whose links tests can break, with exporters, Prometheus, Alertmanager and a sink for notifications.

The tunnels are real and run in network namespaces. WireGuard renews a handshake only every 2 minutes, which
is too slow for a test. Therefore each connected peer removes its gateway every few seconds and adds it again,
which causes a handshake.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from exporter import bundle
from exporter.demo import exporters, links, traces, tunnels, underlay
from exporter.demo.exporters import Exporter
from exporter.demo.namespaces import inside
from exporter.demo.plan import INTERNET, TUNNEL_NETWORKS, Mesh, Node, NodeEntry, PeerNode
from exporter.demo.processes import Processes
from exporter.demo.setconf import Keys
from exporter.demo.signals import Interrupts
from tests.alerts.kit import ALERTS, program

T = TypeVar("T")
PATIENCE = 90.0  # seconds; an upper limit for waiting, far above the normal time
DIVISOR = 30  # of all durations
HOST = "127.0.0.1"
KEEPALIVE = 5  # seconds
RENEWAL = 6.0  # seconds between two handshakes; WireGuard starts at most one in 5 seconds
STALE_AFTER = 20  # seconds


def until(what: str, look: Callable[[], T | None]) -> T:
    """Call `look` until its result is true, and return that result. Fails after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.2)
    pytest.fail(f"still waiting after {PATIENCE:.0f} s for {what}")


def _gateway(name: str, number: int) -> Node:
    address = f"10.86.{number}.1"
    return Node(
        name, number, (address,), NodeEntry(f"{name}-gateway", "", "gateway", "noc", "on-demand", "low")
    )


def _peer(gateway: str, number: int) -> PeerNode:
    name = f"{gateway}p{number % 10}"
    entry = NodeEntry(name, f"site-{name}", "office", "noc", "always-on", "high", STALE_AFTER)
    address = f"10.86.{number // 10}.{number}"
    return PeerNode(name, number, (address,), entry, gateway=gateway, keepalive=KEEPALIVE)


MESH = Mesh(
    (_gateway("gw1", 1), _gateway("gw2", 2)),
    (*(_peer("gw1", 10 + one) for one in range(1, 5)), *(_peer("gw2", 20 + one) for one in range(1, 4))),
)


@dataclass
class Message:
    """A notification that Alertmanager sent to a receiver."""

    receiver: str
    status: str
    name: str  # of the alert
    instance: str
    peers: frozenset[str]
    keys: frozenset[str]
    text: str


class Sink:
    """A webhook for all receivers. `messages` has the notifications in order, except the watchdog's."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.watchdogs = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on standard error."""

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _take(self, path: str, body: bytes) -> None:
        data = json.loads(body)
        alerts = data["alerts"]
        labels = [alert["labels"] for alert in alerts]
        if labels[0]["alertname"] == "WireGuardWatchdog":
            self.watchdogs += 1
            return
        self.messages.append(
            Message(
                path.strip("/"),
                data["status"],
                data["groupLabels"].get("alertname", ""),
                labels[0].get("instance", ""),
                frozenset(one["peer"] for one in labels if "peer" in one),
                frozenset(one["public_key"] for one in labels if "public_key" in one),
                " ".join(alert["annotations"]["description"] for alert in alerts),
            )
        )

    def sent(self, since: int, receiver: str) -> list[Message]:
        return [message for message in self.messages[since:] if message.receiver == receiver]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Outage:
    """The running mesh with Prometheus and Alertmanager, and methods to break and repair links."""

    folder: Path
    sink: Sink
    keys: Keys
    exporters: list[Exporter]
    prometheus: int  # ports
    alertmanager: int
    _silent: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def instance(self, gateway: str) -> str:
        (port,) = (exporter.port for exporter in self.exporters if exporter.gateway.name == gateway)
        return f"{HOST}:{port}"

    def silence(self, *names: str) -> None:
        """Disconnect each node by setting the far end of its link down. The node's settings do not change."""
        with self._lock:
            self._silent |= set(names)
        for name in names:
            inside(INTERNET, partial(links.set_state, name, "down"))

    def restore(self, *names: str) -> None:
        """Connect each node again."""
        for name in names:
            inside(INTERNET, partial(links.set_state, name, "up"))
        with self._lock:
            self._silent -= set(names)

    def shake(self, stop: threading.Event) -> None:
        """Make each connected peer start a new handshake, one after the other, until `stop` is set."""
        for peer in cycle(MESH.peers):
            if stop.wait(RENEWAL / len(MESH.peers)):
                return
            with self._lock:
                if peer.name not in self._silent:
                    self._renew(peer)

    def _renew(self, peer: PeerNode) -> None:
        gateway = _node(peer.gateway)
        known = ("peer", self.keys.public[gateway.name])
        reached = ("endpoint", gateway.endpoint, "allowed-ips", ",".join(TUNNEL_NETWORKS))
        _wg_set(peer, *known, "remove", *known, *reached, "persistent-keepalive", str(KEEPALIVE))

    def add_peer(self, gateway: str, public_key: str) -> None:
        """Add a peer that is not in the directory."""
        _wg_set(_node(gateway), "peer", public_key)

    def firing(self) -> set[tuple[str, str]]:
        """(alert name, peer or instance) of each alert that fires in Prometheus, except the watchdog."""
        alerts = _get(self.prometheus, "/api/v1/alerts")["data"]["alerts"]
        return {
            (one["labels"]["alertname"], one["labels"].get("peer", one["labels"].get("instance", "")))
            for one in alerts
            if one["state"] == "firing" and one["labels"]["alertname"] != "WireGuardWatchdog"
        }

    def query(self, text: str) -> list[Any]:
        answer = _get(self.prometheus, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))
        return list(answer["data"]["result"])

    def maintain(self) -> None:
        """Start a maintenance window."""
        write_alertmanager(self.folder, self.sink.port, window=True)
        request = urllib.request.Request(f"http://{HOST}:{self.alertmanager}/-/reload", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            assert response.status == 200


def _wg_set(node: Node, *words: str) -> None:
    command = [tunnels.program("wg"), "set", node.interface, *words]
    inside(node.namespace, lambda: subprocess.run(command, check=True, timeout=PATIENCE))


def _node(name: str) -> Node:
    (node,) = (node for node in MESH.nodes if node.name == name)
    return node


def _get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=PATIENCE) as response:
        return json.load(response)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        listening = [held.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in listening]


def write_alertmanager(folder: Path, sink: int, *, window: bool = False) -> None:
    """Write the shipped file with the sink as every receiver. `window`: a maintenance window is active."""
    config = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    config = yaml.safe_load(bundle.hurried(yaml.safe_dump(config), DIVISOR))
    for receiver in config["receivers"]:
        name = receiver["name"]
        receiver.clear()
        url = f"http://{HOST}:{sink}/{name}"
        receiver |= {"name": name, "webhook_configs": [{"url": url, "send_resolved": name != "security"}]}
    if window:
        now = datetime.now(UTC)
        years = f"{(now - timedelta(days=1)).year}:{(now + timedelta(days=1)).year}"
        config["time_intervals"][0]["time_intervals"] = [{"years": [years]}]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config, sort_keys=False))


def write_prometheus(folder: Path, alertmanager: int, targets: list[str]) -> None:
    """Edit the bundled file to use the exporters and the Alertmanager of the test."""
    file = folder / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"{HOST}:{alertmanager}"]
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "gateways/gateways.yml").write_text(yaml.safe_dump([{"targets": targets}]))


def _build_mesh(processes: Processes) -> Keys:
    underlay.build_internet()
    for node in MESH.nodes:
        underlay.build_node(node)
    keys = Keys(MESH)
    kernel = tunnels.available() == "kernel"
    for node in MESH.nodes:
        if kernel:
            tunnels.add_kernel_interface(node)
        else:
            log = traces.DIRECTORY / f"{node.interface}.log"
            tunnels.add_userspace_interface(node, processes, log)
        tunnels.configure(MESH, node, keys)
    exporters.write_directory(MESH, keys, traces.DIRECTORY / "directory.yml")
    return keys


def _start_exporters(processes: Processes) -> list[Exporter]:
    planned = exporters.plan_exporters(MESH, traces.DIRECTORY)
    for exporter in planned:
        exporters.write_config(exporter, traces.DIRECTORY / "directory.yml", None)
        with Interrupts() as interrupts:
            exporters.await_ready(exporter, exporters.start(exporter, processes), interrupts)
    return planned


def _start_watchers(outage: Outage, processes: Processes) -> None:
    folder = outage.folder
    prometheus = [
        program("prometheus", "prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={HOST}:{outage.prometheus}",
        "--rules.alert.resend-delay=1s",
    ]
    alertmanager = [
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={HOST}:{outage.alertmanager}",
        "--cluster.listen-address=",
    ]
    for name, command, port in (
        ("alertmanager", alertmanager, outage.alertmanager),
        ("prometheus", prometheus, outage.prometheus),
    ):
        log = folder / f"{name}.log"
        process = processes.start(name, command, log)

        def ready(process: subprocess.Popen[bytes] = process, log: Path = log, port: int = port) -> bool:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://{HOST}:{port}/-/ready", timeout=1).close()
                return True
            return False

        until(name, ready)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Outage]:
    """Start the mesh, exporters, Prometheus and Alertmanager. On exit all of it is removed."""
    sink = Sink()
    stop = threading.Event()
    try:
        with traces.only_one():
            if traces.present():
                traces.remove(node.interface for node in MESH.nodes)
            processes = Processes(traces.RECORD)
            try:
                traces.make_directory()
                keys = _build_mesh(processes)
                started = _start_exporters(processes)
                prometheus, alertmanager = _free_ports(2)
                outage = Outage(folder, sink, keys, started, prometheus, alertmanager)
                list(bundle.write(folder, divisor=DIVISOR))
                write_alertmanager(folder, sink.port)
                targets = [f"{HOST}:{exporter.port}" for exporter in started]
                write_prometheus(folder, outage.alertmanager, targets)
                shaker = threading.Thread(target=outage.shake, args=(stop,), daemon=True)
                shaker.start()
                _start_watchers(outage, processes)
                yield outage
                stop.set()
                shaker.join()
            finally:
                stop.set()
                traces.remove(node.interface for node in MESH.nodes)
                processes.reap()
    finally:
        sink.close()
