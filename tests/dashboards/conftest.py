"""A demo mesh with data for every panel, scraped by a real Prometheus."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from asyncpg import Record

from exporter.demo.plan import MESH
from exporter.demo.traces import DIRECTORY
from exporter.demo.tunnels import SOCKET_DIRECTORY
from exporter.store.database.settings import Target
from tests.dashboards.prometheus import Prometheus, prometheus
from tests.e2e.test_demo import demo, recorded_totals, until
from tests.kit.pages import ROOT
from tests.kit.store.schema import ask

SCRAPES = 20  # one per second, before the tests start
ELSEWHERE = "192.0.2.1:9"
UNKNOWN = b64encode(bytes(range(32))).decode()  # a key that no directory file lists
PROVOKED = [
    {
        "alert": f"WireGuardProvoked{severity.title()}",
        "expr": 'wireguard_peer_info{peer="elbe-gauge"}',
        "labels": {"severity": severity, "concern": "security"},
    }
    for severity in ("critical", "warning")
]
PROVOKED += [  # replaces two weeks of history
    {
        "record": "peer_direction:wireguard_bytes_baseline:max",
        "expr": "peer_direction:wireguard_bytes:increase1d / 2",
    }
]


@dataclass(frozen=True, slots=True)
class Living:
    """The running Prometheus and database, and the mesh they observe."""

    prometheus: Prometheus
    records: Target  # with Grafana's login
    keys: dict[str, str]  # public keys by name of the peer
    started: float  # UNIX seconds


@pytest.fixture(scope="package")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """A mesh with a stale, an unconnected, an unknown and a removed peer, and with a changed endpoint.

    It ends with the last test of this package, because a host can run only one demo at a time.
    """
    if os.geteuid() != 0:
        pytest.skip("the demo makes network namespaces: needs root")
    folder = tmp_path_factory.mktemp("dashboards")
    started = time.time()
    with ExitStack() as stack:
        run = stack.enter_context(demo(folder / "output", "--silent-after", "1"))
        until("the exporters", lambda: run.said("Running"))
        server = stack.enter_context(prometheus(folder, _config(folder)))
        until("Prometheus", server.is_ready)
        until("scrapes", lambda: _fewest_scrapes(server) >= 2)  # before the changes
        keys = _expect_more()
        until("records", lambda: len(recorded_totals()) == len(MESH.peers) + len(MESH.gateways))
        until("the disconnection", lambda: run.said("is pulled"))
        _change(keys)
        until("the endpoint change", lambda: _endpoint_changed(server, keys["elbe-gauge"]))
        until("its record", lambda: _records(f"select from argus.peer_config where endpoint = '{ELSEWHERE}'"))
        until("the alert", lambda: server.instant('ALERTS{alertstate="firing"}'))
        until("the stale peer", lambda: server.instant(f"{AGE}{{public_key='{keys['elbe-gauge']}'}} > 5"))
        until("scrapes", lambda: _fewest_scrapes(server) >= SCRAPES)
        login = _login(folder)
        yield Living(server, login, keys, started)


AGE = "wireguard_peer_handshake_age_seconds"


def _fewest_scrapes(server: Prometheus) -> float:
    gateways = [float(found["value"][1]) for found in server.instant("count_over_time(up[10m])")]
    return min(gateways) if len(gateways) == len(MESH.gateways) else 0


def _config(folder: Path) -> dict[str, object]:
    """A configuration with an interval of one second, and additional rules that fire immediately."""
    rules = folder / "rules"
    rules.mkdir()
    for file in (ROOT / "alerts/rules").glob("*.yml"):
        (rules / file.name).write_text(re.sub(r"interval: \d+m", "interval: 1s", file.read_text()))
    provoked = {"groups": [{"name": "provoked", "rules": PROVOKED}]}
    (rules / "provoked.yml").write_text(yaml.safe_dump(provoked))
    listening = [yaml.safe_load((DIRECTORY / f"{gateway.name}.yml").read_text()) for gateway in MESH.gateways]
    targets = [{"targets": [config["listen"] for config in listening]}]
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{rules}/*.yml"],
        "scrape_configs": [{"job_name": "wireguard", "static_configs": targets}],
    }


def _expect_more() -> dict[str, str]:
    """Change the directory: the stale peer gets a short window, and a peer that never connected is always-on.

    Returns the public key of each name.
    """
    path = DIRECTORY / "directory.yml"
    directory = yaml.safe_load(path.read_text())
    keys = {entry["name"]: key for key, entry in directory["peers"].items()}
    directory["peers"][keys["elbe-gauge"]]["stale_after"] = 1
    directory["peers"][keys["spare-phone"]]["expected"] = "always-on"
    path.write_text(yaml.safe_dump(directory))
    return keys


def _change(keys: dict[str, str]) -> None:
    """Change the allowed IPs of the stale peer, remove a peer, and add an unknown one."""
    _wg("gw1", "peer", keys["elbe-gauge"], "allowed-ips", "10.86.1.12/32,192.0.2.0/24")
    _wg("gw1", "peer", keys["ada-laptop"], "remove")
    _wg("gw1", "peer", UNKNOWN, "allowed-ips", "198.51.100.0/24")


def _endpoint_changed(server: Prometheus, key: str) -> bool:
    """Set another endpoint, and return whether it is exported. Packets in transit may restore the old one."""
    _wg("gw1", "peer", key, "endpoint", ELSEWHERE)
    return bool(server.instant(f'wireguard_peer_endpoint_changes_total{{public_key="{key}"}} > 0'))


def _records(query: str) -> list[Record]:
    """The rows of a query, run as the owner of the schema."""
    state = DIRECTORY / "gw1.state/postgres"
    target = Target(str(state / "run"), 5432, "argus", "argus", (state / "argus.password").read_text())
    return ask(target, query)


def _wg(gateway: str, *words: str) -> None:
    (node,) = (node for node in MESH.gateways if node.name == gateway)
    userspace = (SOCKET_DIRECTORY / f"{node.interface}.sock").exists()
    inside = [] if userspace else ["ip", "netns", "exec", node.namespace]
    subprocess.run([*inside, "wg", "set", node.interface, *words], check=True)


def _login(folder: Path) -> Target:
    """Create Grafana's login with the shipped script."""
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed (Debian: apt install postgresql-client)")
    state = DIRECTORY / "gw1.state/postgres"
    password = (state / "superuser.password").read_text().strip()
    variables = {"login": "grafana", "organisation": "argus-demo", "clearance": "0"}
    command = [psql, "--quiet", "-h", str(state / "run"), "-U", "postgres", "-d", "argus"]
    command += [f"--set={name}={value}" for name, value in variables.items()]
    script = ROOT / "dashboards/provisioning/grafana-login.sql"
    for end in (["-f", str(script)], ["-c", "alter role grafana password 'grafana'"]):
        subprocess.run([*command, *end], check=True, env={**os.environ, "PGPASSWORD": password})
    return Target(str(state / "run"), 5432, "argus", "grafana", "grafana")
