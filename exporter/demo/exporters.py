"""One exporter for each gateway, with the configuration and the directory that it reads."""

from __future__ import annotations

import http.client
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from exporter.demo.errors import DemoError
from exporter.demo.plan import SITES, Mesh, Node
from exporter.demo.processes import Process, Processes, last_lines
from exporter.demo.setconf import Keys
from exporter.demo.signals import Interrupts

HOST = "127.0.0.1"
FIRST_PORT = 9586
PORTS_TRIED = 100
READY_SECONDS = 20.0
POLL_SECONDS = 0.1
DATABASE_SECONDS = 60.0
RECORD_EVERY = "5s"  # the demo runs for minutes only


@dataclass(frozen=True, slots=True)
class Exporter:
    """The exporter of a gateway. It runs on the host, so that a browser there can reach it, and reads the
    network namespace of the gateway."""

    gateway: Node
    port: int
    config: Path
    log: Path
    state: Path

    @property
    def database(self) -> Path:
        """The directory of the socket of this exporter's private PostgreSQL, while it runs."""
        return self.state / "postgres/run"

    @property
    def password_file(self) -> Path:
        return self.state / "postgres/argus.password"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def name(self) -> str:
        return f"the exporter of {self.gateway.name}"


def plan_exporters(mesh: Mesh, directory: Path) -> list[Exporter]:
    """The exporters, on the first free ports from 9586."""
    exporters: list[Exporter] = []
    port = FIRST_PORT
    for gateway in mesh.gateways:
        port = _free_port(port)
        stem = directory / gateway.name
        files = stem.with_suffix(".yml"), stem.with_suffix(".log"), stem.with_suffix(".state")
        exporters.append(Exporter(gateway, port, *files))
        port += 1
    return exporters


def write_directory(mesh: Mesh, keys: Keys, path: Path) -> None:
    """Writes the directory: the names of the peers and the positions of the sites."""
    peers = {
        keys.public[node.name]: {name: value for name, value in asdict(node.entry).items() if value}
        for node in (*mesh.gateways, *mesh.peers)
    }
    sites = {name: {"latitude": north, "longitude": east} for name, (north, east) in SITES.items()}
    write_private(path, yaml.safe_dump({"sites": sites, "peers": peers}, sort_keys=False))


def write_config(exporter: Exporter, directory_file: Path, records: Exporter | None) -> None:
    """Writes a configuration that reads only the interface of its gateway; other keys have their defaults.

    `records`: the exporter whose private PostgreSQL is used, perhaps the same; None = nothing is recorded.
    """
    gateway = exporter.gateway
    settings: dict[str, object] = {
        "gateway": gateway.entry.name,
        "organisation": "argus-demo",
        "listen": f"{HOST}:{exporter.port}",
        "namespaces": [gateway.namespace],
        "interfaces": {"include": [gateway.interface, f"{gateway.namespace}/{gateway.interface}"]},
        "directory": {"files": [str(directory_file)], "wg_quick": []},
        "state_directory": str(exporter.state),
        "recording": {"enabled": records is not None, "interval": RECORD_EVERY},
    }
    if records and records is not exporter:
        settings["database"] = {
            "address": str(records.database),
            "user": "argus",
            "password_file": str(records.password_file),
        }
    write_private(exporter.config, yaml.safe_dump(settings, sort_keys=False))


def start(exporter: Exporter, processes: Processes) -> Process:
    command = [sys.executable, "-m", "exporter.cli", "serve", "--config", str(exporter.config)]
    return processes.start(exporter.name, command, exporter.log)


def await_ready(exporter: Exporter, process: Process, interrupts: Interrupts) -> None:
    """Raises `DemoError` with the end of the exporter's log if it ends, or is not ready in time."""
    for _ in range(int(READY_SECONDS / POLL_SECONDS)):
        if process.poll() is not None:
            raise DemoError(f"{exporter.name} ended at once: {last_lines(exporter.log)}")
        if _get(exporter, "/-/ready"):
            return
        interrupts.wait(POLL_SECONDS)
    raise DemoError(f"{exporter.name} is not ready after {READY_SECONDS:.0f} s: {last_lines(exporter.log)}")


def await_database(exporter: Exporter, interrupts: Interrupts) -> bool:
    """Waits until the metrics say that the private PostgreSQL runs; false = it does not start."""
    for _ in range(int(DATABASE_SECONDS / POLL_SECONDS)):
        page = _get(exporter, "/metrics")
        if 'wireguard_exporter_database_up{database="embedded"} 1' in page:
            return True
        if 'wireguard_exporter_database_failing{reason="embedded"} 1' in page:
            return False
        interrupts.wait(POLL_SECONDS)
    return False


def write_private(path: Path, text: str) -> None:
    """Writes a new file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _get(exporter: Exporter, path: str) -> str:
    """The text of a page; "" unless its status is 200."""
    connection = http.client.HTTPConnection(HOST, exporter.port, timeout=READY_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read().decode() if response.status == http.HTTPStatus.OK else ""
    except OSError:
        return ""
    finally:
        connection.close()


def _free_port(first: int) -> int:
    for port in range(first, first + PORTS_TRIED):
        try:
            socket.create_server((HOST, port)).close()
        except OSError:
            continue
        return port
    raise DemoError(f"no port between {first} and {first + PORTS_TRIED - 1} is free on {HOST}")
