"""The demo as an operator runs it, with real namespaces, tunnels, exporters and records; it leaves nothing
behind."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.commands import demo as command
from exporter.demo.errors import DemoError
from exporter.demo.exporters import FIRST_PORT, HOST
from exporter.demo.namespaces import existing
from exporter.demo.plan import MESH
from exporter.demo.processes import start_time
from exporter.demo.traces import DIRECTORY, LOCK, RECORD
from exporter.demo.tunnels import SOCKET_DIRECTORY
from exporter.store.database.settings import Target
from tests.kit.store.schema import ask

T = TypeVar("T")
PATIENCE = 30.0  # longest wait in seconds, far more than needed

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the demo makes network namespaces: needs root")


@dataclass
class Run:
    process: subprocess.Popen[bytes]
    output: Path

    def said(self, text: str) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"the demo ended with status {self.process.returncode}:\n{self.output.read_text()}")
        return text in self.output.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def demo(output: Path, *options: str) -> Iterator[Run]:
    """Runs the demo in its own process, and ends it after the test."""
    with output.open("wb") as file:
        arguments = [sys.executable, "-m", "exporter.cli", "demo", *options]
        process = subprocess.Popen(arguments, stdout=file, stderr=file)
    try:
        yield Run(process, output)
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Occupies the port, unless another process does already."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(socket.create_server((HOST, port)))
        yield


def until(what: str, look: Callable[[], T | None]) -> T:
    """Waits for the first true result of `look`, and returns it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := look():
            return answer
        time.sleep(0.1)
    pytest.fail(f"still waiting after {PATIENCE:.0f} s for {what}")


def recorded() -> set[tuple[int, int]]:
    """Process numbers and start times that the demo has recorded."""
    lines = RECORD.read_text().splitlines()
    return {(int(pid), int(started)) for pid, started in (line.split() for line in lines)}


def alive(pid: int, started: int) -> bool:
    """Whether the same process still runs. A zombie, which has no command line, does not count."""
    try:
        return start_time(pid) == started and bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def left_on_the_host() -> list[str]:
    """Everything on the host that a demo creates."""
    found = [*existing(), *(str(path) for path in (DIRECTORY, LOCK) if path.exists())]
    found += [str(path) for path in SOCKET_DIRECTORY.glob("argus-*.sock")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended in the meantime
        ours = any(word.startswith(str(DIRECTORY)) for word in words)
        if ours or ("--foreground" in words and any(node.interface in words for node in MESH.nodes)):
            found.append(" ".join(words))
    return found


def metrics(gateway: str) -> dict[str, dict[str, float]]:
    """Metric → peer's name → value, from the gateway's exporter."""
    listen = yaml.safe_load((DIRECTORY / f"{gateway}.yml").read_text())["listen"]
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=PATIENCE) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    samples = [sample for family in families for sample in family.samples if "public_key" in sample.labels]
    names = {s.labels["public_key"]: s.labels["peer"] for s in samples if s.name == "wireguard_peer_info"}
    values: dict[str, dict[str, float]] = {}
    for sample in samples:
        if name := names.get(sample.labels["public_key"]):
            values.setdefault(sample.name, {})[name] = sample.value
    return values


def connected(gateway: str) -> set[str]:
    handshakes = metrics(gateway)["wireguard_peer_last_handshake_timestamp_seconds"]
    return {name for name, at in handshakes.items() if at > 0}


def received(name: str) -> float:
    return metrics("gw1")["wireguard_peer_receive_bytes_total"][name]


def recorded_totals() -> dict[tuple[str, str], int]:
    """(gateway, peer) → total received bytes, from the private PostgreSQL of gw1."""
    state = DIRECTORY / "gw1.state/postgres"
    target = Target(str(state / "run"), 5432, "argus", "argus", (state / "argus.password").read_text())
    rows = ask(target, "select gateway, name, receive_total from argus.peer_latest")
    return {(gateway, name): total for gateway, name, total in rows}


@needs_root
def test_a_mesh_from_start_to_end(tmp_path: Path) -> None:
    """Both exporters show handshakes, one peer never connects, one peer is disconnected, and Ctrl-C
    removes everything."""
    with demo(tmp_path / "output", "--silent-after", "4") as run:
        until("the exporters", lambda: run.said("Running"))
        expected = {"hamburg-office", "elbe-gauge", "ada-laptop", "lisbon-gateway"}
        until("handshakes on gw1", lambda: connected("gw1") == expected)
        expected = {"porto-office", "braga-backup", "faro-camera", "berlin-gateway"}
        until("handshakes on gw2", lambda: connected("gw2") == expected)

        before = metrics("gw1")
        assert before["wireguard_peer_last_handshake_timestamp_seconds"]["spare-phone"] == 0
        assert "spare-phone" not in before["wireguard_peer_handshake_age_seconds"]
        assert before["wireguard_peer_receive_bytes_total"]["spare-phone"] == 0
        assert before["wireguard_peer_persistent_keepalive_seconds"]["ada-laptop"] == 0

        until("the gauge's traffic", lambda: received("elbe-gauge") > 2000)
        until("the pulled cable", lambda: run.said("The cable of elbe-gauge is pulled"))
        reference = received("hamburg-office")  # its traffic measures the time
        until("what was on its way", lambda: received("hamburg-office") > reference + 20_000)
        silent = received("elbe-gauge")
        until("other traffic", lambda: received("hamburg-office") > reference + 120_000)
        assert received("elbe-gauge") == silent

        until("records of gw2", lambda: ("lisbon-gateway", "porto-office") in recorded_totals())
        totals = recorded_totals()
        assert len(totals) == sum(len(metrics(gw)["wireguard_peer_allowed_ips"]) for gw in ("gw1", "gw2"))
        assert 0 < totals["berlin-gateway", "hamburg-office"] <= received("hamburg-office")

        second = subprocess.run(run.process.args, check=False, capture_output=True, timeout=PATIENCE)
        assert second.returncode == 1
        assert b"another demo is running" in second.stderr
        assert connected("gw1")  # the refused demo has removed nothing of the first

        assert run.end(signal.SIGINT) == 0
        assert left_on_the_host() == []


@needs_root
def test_a_killed_demo_is_removed_by_the_next(tmp_path: Path) -> None:
    """After SIGKILL of a demo its namespaces and processes remain, and the next demo removes them first."""
    with demo(tmp_path / "first") as first:
        until("the first demo", lambda: first.said("Running"))
        first.process.kill()
        first.process.wait(PATIENCE)
    orphans = recorded()
    assert all(alive(*orphan) for orphan in orphans)
    assert len(existing()) == len(MESH.nodes) + 1

    with demo(tmp_path / "second") as second:
        until("the second demo", lambda: second.said("Running"))
        assert second.said("Removing what a killed demo left behind")
        assert not any(alive(*orphan) for orphan in orphans)
        until("handshakes", lambda: connected("gw2"))
        assert second.end(signal.SIGTERM) == 0
    assert left_on_the_host() == []


@needs_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_during_the_setup(tmp_path: Path, number: signal.Signals) -> None:
    """A signal while interfaces are created ends the demo, and nothing is left."""
    with demo(tmp_path / "output") as run:
        until("the first interface", lambda: run.said("Creating a WireGuard interface"))
        assert run.end(number) == 0
        assert "Running" not in (tmp_path / "output").read_text()
    assert left_on_the_host() == []


@needs_root
def test_an_occupied_port_and_an_exporter_that_ends(tmp_path: Path) -> None:
    """An occupied port is skipped; if an exporter ends, the demo names it, and still removes everything."""
    with taken(FIRST_PORT), demo(tmp_path / "output") as run:
        until("the exporters", lambda: run.said("Running"))
        assert run.said(f"({FIRST_PORT} is taken)")
        config = str(DIRECTORY / "gw1.yml").encode()
        (pid,) = (pid for pid, _ in recorded() if config in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(pid, signal.SIGKILL)
        until("the news", lambda: run.said("the exporter of gw1 ended with status -9"))
        assert connected("gw2")
        assert run.end(signal.SIGINT) == 1
    assert left_on_the_host() == []


def test_without_root_it_says_so() -> None:
    """An unprivileged user gets one sentence that says how to run it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            command.run(argparse.Namespace(silent_after=1.0, exit_after=1.0))
        except DemoError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == (
            "network namespaces and WireGuard interfaces need root; run `sudo argus-wg demo`"
        )
    os.waitpid(child, 0)
