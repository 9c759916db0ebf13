"""`argus-wg serve` as a process, with real UAPI sockets, HTTP requests and signals."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter import __version__
from tests.kit.daemon import (
    PATIENCE,
    Daemon,
    Interface,
    command,
    daemon,
    directory_section,
    interface,
    key,
    make_stale_socket,
    replace,
    reply_of,
)
from tests.kit.paths import PROJECT
from tests.kit.web import make_pair, password_hash, until
from tests.unit.sources.test_gateway import needs_no_module

NEVER = "24h"  # longer than any test


@pytest.fixture(scope="module")
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@dataclass(frozen=True)
class Site:
    """A daemon, and the interface wg0, whose peers the tests change."""

    daemon: Daemon
    wg0: Interface
    peers: list[int]


def site(folder: Path, config: str) -> Iterator[Site]:
    (folder / "directory.yml").write_text("peers: {}\n")
    peers = [1, 2, 3]
    with (
        interface(folder, "wg0", lambda: reply_of(peers)) as wg0,
        interface(folder, "wg1", lambda: reply_of([4])),
        daemon(folder, config) as running,
    ):
        yield Site(running, wg0, peers)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two interfaces, and a daemon that reads its directory again only after SIGHUP."""
    folder = tmp_path_factory.mktemp("gateway")
    yield from site(folder, directory_section(folder, NEVER))


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two interfaces, and a daemon that looks for changes every 100 ms and logs JSON."""
    folder = tmp_path_factory.mktemp("watching")
    yield from site(folder, directory_section(folder, "100ms") + "log: {format: json}\n")


def test_the_pages(gateway: Site) -> None:
    """/metrics has every peer of every interface; /, health and readiness answer; other paths are 404."""
    lines = gateway.daemon.metrics().splitlines()
    for name, peers in (("wg0", gateway.peers), ("wg1", [4])):
        for peer in peers:
            labels = f'interface="{name}",public_key="{key(peer)}"'
            assert f"wireguard_peer_receive_bytes_total{{{labels}}} {peer}" in lines
    assert gateway.daemon.get("/-/healthy") == (200, "healthy\n")
    assert gateway.daemon.get("/-/ready") == (200, "ready\nserving gw\n")
    assert gateway.daemon.get("/")[0] == 200
    assert gateway.daemon.get("/metric")[0] == 404
    assert gateway.daemon.said(f"argus-wg {__version__} serves gw") == 1


def test_a_page_counts_the_previous_scrape(gateway: Site) -> None:
    """From one page to the next, readings and answers grow by one; the last duration is above 0."""

    def value(page: str, series: str) -> float:
        (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
        return float(found)

    first, second = gateway.daemon.metrics(), gateway.daemon.metrics()
    for series in ("wireguard_exporter_readings_total", 'wireguard_exporter_http_requests_total{code="200"}'):
        assert value(second, series) == value(first, series) + 1
    assert value(second, "wireguard_exporter_last_scrape_duration_seconds") > 0


def test_a_removed_peer_is_gone_at_the_next_scrape(gateway: Site) -> None:
    """No series of a removed peer is left, and an added peer has its series."""
    assert key(2) in gateway.daemon.metrics()
    gateway.peers[:] = [1, 3, 9]
    page = gateway.daemon.metrics()
    assert key(2) not in page
    assert key(9) in page
    gateway.peers[:] = [1, 2, 3]
    page = gateway.daemon.metrics()
    assert key(2) in page
    assert key(9) not in page


def test_sighup_reads_the_directory_again(gateway: Site) -> None:
    """A changed file takes effect after the signal; the process goes on and answers every scrape."""
    gateway.daemon.write_names(p1="berlin")
    assert gateway.daemon.names() == {}
    gateway.daemon.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.daemon.names() == {key(1): "berlin"})
    assert gateway.daemon.process.poll() is None


def test_a_changed_file_takes_effect_without_a_signal(watching: Site) -> None:
    """A directory file that changes takes effect on its own, each time."""
    for names in ({"p1": "berlin"}, {"p1": "paris", "p4": "rome"}, {"p2": "lima"}):
        watching.daemon.write_names(**names)
        expected = {key(int(peer[1:])): name for peer, name in names.items()}
        until(lambda expected=expected: watching.daemon.names() == expected)  # type: ignore[misc]


RELOADED = 'wireguard_exporter_reload_success{file="directory"} '


def test_a_bad_directory_keeps_the_last_good_one(gateway: Site) -> None:
    """Names stay, a metric is 0, and the log has the error once, with its place, and its end once."""
    daemon = gateway.daemon
    daemon.write_names(p1="before")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.names() == {key(1): "before"})
    assert f"{RELOADED}1" in daemon.metrics()

    replace(daemon.directory, f"peers:\n  {key(1)}:\n    name: after\n    stale_after: soon\n")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: f"{RELOADED}0" in daemon.metrics())
    refusals = daemon.said("the directory has a mistake")
    for _ in range(3):
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.names() == {key(1): "before"}
    assert daemon.said(f"{daemon.directory}:4: peers.{key(1)}.stale_after: ") == refusals == 1

    daemon.write_names(p1="after")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: daemon.names() == {key(1): "after"})
    assert f"{RELOADED}1" in daemon.metrics()
    assert daemon.said("the directory is valid again") == 1
    assert daemon.said("the directory has a mistake") == 1


def test_a_missing_directory_file_is_read_once_it_exists(tmp_path: Path) -> None:
    """The daemon starts without the file, logs that, and reads the file as soon as it exists."""
    with (
        interface(tmp_path, "wg0", lambda: reply_of([1])),
        daemon(tmp_path, directory_section(tmp_path, "100ms")) as running,
    ):
        assert f"{RELOADED}0" in running.metrics()
        assert running.said(f"{running.directory}: no such file") == 1
        running.write_names(p1="late")
        until(lambda: running.names() == {key(1): "late"})
        assert f"{RELOADED}1" in running.metrics()


def test_a_failure_and_its_end_are_logged_once(gateway: Site) -> None:
    """An interface whose process ended fails at each scrape and is logged once; other interfaces are read."""
    daemon = gateway.daemon
    success = 'wireguard_exporter_read_success{source="uapi",interface="wg7"} '
    failing = 'wireguard_exporter_read_failing{source="uapi",interface="wg7",reason='
    path = daemon.folder / "wg7.sock"
    make_stale_socket(path)
    for _ in range(3):
        page = daemon.metrics()
        assert f"{success}0" in page
        assert f'{failing}"stale-socket"}} 1' in page
        assert key(4) in page
    assert daemon.said("interface wg7 (uapi) cannot be read (stale-socket)") == 1
    path.unlink()
    with interface(daemon.folder, "wg7", lambda: reply_of([8])):
        for _ in range(3):
            page = daemon.metrics()
            assert f"{success}1" in page
            assert failing not in page
    assert daemon.said("interface wg7 (uapi) can be read again") == 1
    assert daemon.said("wg7") == 2
    assert "wg7" not in re.sub("^#.*$", "", daemon.metrics(), flags=re.MULTILINE)


def test_json_logs(watching: Site) -> None:
    """Each line of the log is a JSON object with time, level, logger and message."""
    make_stale_socket(watching.daemon.folder / "wg8.sock")
    watching.daemon.metrics()
    (watching.daemon.folder / "wg8.sock").unlink()
    entries = [json.loads(line) for line in watching.daemon.log().splitlines()]
    assert {"info", "error"} <= {entry["level"] for entry in entries}
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)


def scrape_that_hangs(site: Site, workers: ThreadPoolExecutor) -> Future[tuple[int, str]]:
    """Starts a scrape, which waits for wg0."""
    site.wg0.gate.clear()
    site.wg0.waiting.clear()
    scrape = workers.submit(site.daemon.get, "/metrics")
    assert site.wg0.waiting.wait(PATIENCE)
    return scrape


def test_health_does_not_wait_for_a_scrape(gateway: Site, workers: ThreadPoolExecutor) -> None:
    """While a scrape waits for an interface, the other paths answer; afterwards the scrape does."""
    scrape = scrape_that_hangs(gateway, workers)
    try:
        for path in ("/-/healthy", "/-/ready", "/"):
            assert gateway.daemon.get(path)[0] == 200
        assert not scrape.done()
    finally:
        gateway.wg0.gate.set()
    status, page = scrape.result(PATIENCE)
    assert status == 200
    assert key(4) in page


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scrape_under_way_is_finished_before_the_end(
    tmp_path: Path, workers: ThreadPoolExecutor, number: signal.Signals
) -> None:
    """After the signal, the daemon refuses new connections, answers the scrape, and exits with 0."""
    with interface(tmp_path, "wg0", lambda: reply_of([1])) as wg0, daemon(tmp_path) as running:
        port = running.port
        scrape = scrape_that_hangs(Site(running, wg0, [1]), workers)
        running.process.send_signal(number)
        until(lambda: running.said("stopping") == 1)
        until(lambda: refuses(port))
        time.sleep(0.3)  # time enough to cut the scrape off wrongly
        assert not scrape.done()
        wg0.gate.set()
        status, page = scrape.result(PATIENCE)
        assert status == 200
        assert key(1) in page
        assert running.process.wait(PATIENCE) == 0
        assert "Traceback" not in running.log()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_service_manager_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """READY=1 is sent once the server answers, STOPPING=1 when the stop begins (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with interface(tmp_path, "wg0", lambda: reply_of([1])), daemon(tmp_path) as running:
            assert manager.recv(200).startswith(b"READY=1\n")
            assert running.get("/-/healthy")[0] == 200
            running.process.send_signal(signal.SIGTERM)
            assert manager.recv(200).startswith(b"STOPPING=1\n")
            assert running.process.wait(PATIENCE) == 0


def test_a_service_manager_that_is_gone_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no process listens on NOTIFY_SOCKET, the daemon runs and stops as usual."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with interface(tmp_path, "wg0", lambda: reply_of([1])), daemon(tmp_path) as running:
        assert running.get("/metrics")[0] == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_tls_and_passwords(tmp_path: Path) -> None:
    """curl gets the page with TLS and the right password; not with a wrong password, and not without TLS."""
    authority = make_pair(tmp_path, "authority")
    make_pair(tmp_path, "server", authority)
    web = tmp_path / "web.yml"
    web.write_text(
        f"tls_server_config: {{cert_file: {tmp_path}/server.crt, key_file: {tmp_path}/server.key}}\n"
        f"basic_auth_users: {{prometheus: {password_hash('wonder')}}}\n"
    )
    with (
        interface(tmp_path, "wg0", lambda: reply_of([1])),
        daemon(tmp_path, f"web_config: {web}\n") as running,
    ):

        def curl(*options: str, scheme: str = "https", path: str = "/metrics") -> tuple[str, str]:
            """The HTTP status ("000" = no answer) and the body."""
            status = ("--write-out", "\n%{http_code}")
            url = f"{scheme}://127.0.0.1:{running.port}{path}"
            done = subprocess.run(
                ["curl", "--silent", "--cacert", str(authority.cert), *status, *options, url],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            body, _, code = done.stdout.rpartition("\n")
            return code, body

        status, page = curl("--user", "prometheus:wonder", "--compressed")
        assert status == "200"
        assert key(1) in page
        for path in ("/metrics", "/", "/-/healthy", "/-/ready"):
            assert curl(path=path)[0] == "401"
            assert curl("--user", "prometheus:guess", path=path)[0] == "401"
        assert curl("--user", "prometheus:wonder", scheme="http")[0] != "200"
        assert 'wireguard_exporter_reload_success{file="web_config"} 1' in page

        replace(web, web.read_text().replace("prometheus:", "grafana:"))
        assert curl("--user", "prometheus:wonder")[0] == "401"
        assert curl("--user", "grafana:wonder")[0] == "200"
        assert "wonder" not in running.log()


@needs_no_module
def test_a_missing_module_is_logged_once(tmp_path: Path) -> None:
    """Without WireGuard in the kernel, the netlink source fails until there is a userspace interface."""
    failing = 'wireguard_exporter_read_failing{source="netlink",interface="",reason="module"} 1'
    with daemon(tmp_path, netlink=True) as running:
        for _ in range(3):
            page = running.metrics()
            assert failing in page
            assert 'wireguard_exporter_read_success{source="uapi",interface=""} 1' in page
        assert running.said("source netlink cannot be read (module): the kernel has no WireGuard") == 1
        with interface(tmp_path, "wg0", lambda: reply_of([1])):
            assert failing not in running.metrics()
        assert running.said("source netlink can be read again") == 1


def test_a_host_without_interfaces(tmp_path: Path) -> None:
    """Without any interface, the page has a 0 and the log one warning, not an error at each scrape."""
    with daemon(tmp_path) as running:
        for _ in range(3):
            assert "wireguard_exporter_interfaces 0" in running.metrics()
        assert running.said("no WireGuard interface found") == 1
        assert running.said(" ERROR ") == 0


def refused(file: Path, config: str) -> tuple[int, str]:
    """(exit code, standard error) of a daemon that cannot start."""
    file.write_text(config)
    done = subprocess.run(
        command("--config", str(file)),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('listen: "0.0.0.0:0"\n', "1: listen: 0.0.0.0:0 can be reached from other hosts without a password"),
        ('listen: "[::]:0"\n', "1: listen: [::]:0 can be reached from other hosts without a password"),
        ("gateway: gw\nlog:\n  level: loud\n", "3: log.level: "),
        ("metrics: {schema: mine}\n", "1: metrics.schema: "),
        ("gateway: [\n", "argus.yml"),
    ],
    ids=["every address", "every address of IPv6", "a level", "a schema", "no YAML"],
)
def test_a_configuration_that_cannot_be_served(tmp_path: Path, config: str, said: str) -> None:
    """The exit code is 2, and one line names the file, the line and the remedy."""
    code, line = refused(tmp_path / "argus.yml", config)
    assert code == 2
    assert line.startswith(f"argus-wg: {tmp_path}/argus.yml:")
    assert said in line
    assert line.count("\n") == 1


def test_a_web_configuration_without_logins(tmp_path: Path) -> None:
    """Beyond loopback, a web configuration needs passwords or required client certificates."""
    (tmp_path / "web.yml").write_text("http_server_config: {http2: false}\n")
    code, line = refused(tmp_path / "argus.yml", f'listen: "0.0.0.0:0"\nweb_config: {tmp_path}/web.yml\n')
    assert code == 2
    assert f"{tmp_path}/web.yml: asks for neither a password nor a client certificate" in line
    assert line.count("\n") == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """The exit code is 1, and one line names the port and how to find the program that uses it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, line = refused(
            tmp_path / "argus.yml",
            f'listen: "127.0.0.1:{port}"\nsources: {{uapi_directory: {tmp_path}, netlink: false}}\n'
            "directory: {wg_quick: []}\n",
        )
    assert code == 1
    assert line.startswith(f"argus-wg: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert line.count("\n") == 1
