"""deploy/argus-wg.service and its drop-in, checked by systemd and against the system calls of the daemon."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.kit.paths import PROJECT
from tests.kit.servers.postgres import children, directory

ROOT = PROJECT
UNIT = ROOT / "deploy/argus-wg.service"
DROP_IN = ROOT / "deploy/argus-wg-namespaces.conf"
RECORDED = 'wireguard_exporter_database_up{database="embedded"} 1'
FAILING = "wireguard_exporter_database_failing{"
BY_ROOT = {
    "chown",
    "fchown",
    "lchown",
    "setgroups",
    "setresgid",
    "setresuid",
}  # so that PostgreSQL is not root
EXPOSURE = 2.0  # the most that docs/security.md promises

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed: apt-get install systemd"
)
needs_strace = pytest.mark.skipif(
    not shutil.which("strace"), reason="strace is not installed: apt-get install strace"
)


def settings(file: Path) -> dict[str, list[str]]:
    """Every setting of a unit file with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "[")):
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> str:
    """The output of systemd-analyze, which must succeed."""
    command = ["systemd-analyze", "--no-pager", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit as it would be installed, with a program that exists on this machine."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/argus-wg", sys.executable))
    return unit


@needs_systemd
def test_systemd_understands_every_line(installed: Path) -> None:
    """`systemd-analyze verify` finds nothing to say, with the drop-in and without."""
    assert analyze("verify", str(installed)) == ""
    folder = installed.with_name(f"{installed.name}.d")
    folder.mkdir()
    shutil.copy(DROP_IN, folder)
    assert analyze("verify", str(installed)) == ""


@needs_systemd
def test_exposure_is_within_what_the_documentation_promises(installed: Path) -> None:
    """`systemd-analyze security` rates the unit no higher than docs/security.md says."""
    rated = analyze("security", "--offline=true", str(installed))
    match = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated)
    assert match is not None
    assert float(match[1]) <= EXPOSURE
    assert f"at most {EXPOSURE} " in (ROOT / "docs/security.md").read_text()


def test_cap_net_admin_alone() -> None:
    """The unit holds one capability, in the host's user namespace, for an unprivileged user."""
    unit = settings(UNIT)
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_ADMIN"]
    assert unit["DynamicUser"] == ["yes"]
    assert unit["PrivateUsers"] == unit["PrivateNetwork"] == ["no"]
    assert unit["Type"] == ["notify"]
    assert unit["LimitCORE"] == unit["MemorySwapMax"] == ["0"]


def test_the_drop_in_adds_what_setns_needs_and_no_more() -> None:
    """One capability and one kind of namespace."""
    assert settings(DROP_IN) == {
        "AmbientCapabilities": ["CAP_SYS_ADMIN"],
        "CapabilityBoundingSet": ["CAP_SYS_ADMIN"],
        "RestrictNamespaces": ["net"],
    }


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The system calls of the daemon and its private PostgreSQL, from the start over a reload to the stop,
    scraped in between."""
    with directory() as state:
        state.chmod(0o711)  # PostgreSQL, which is not root, has to pass through
        return traced(tmp_path_factory.mktemp("trace"), state)


def traced(folder: Path, state: Path) -> str:
    config, calls = folder / "argus-wg.yml", folder / "calls"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(f"listen: 127.0.0.1:{port}\nstate_directory: {state}\nrecording: {{interval: 1s}}\n")
    daemon = [sys.executable, "-m", "exporter.cli", "serve", "--config", str(config)]
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", str(calls), *daemon],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            scrape(port)  # so the daemon is there, and its signal handlers are
            (child,) = children(process.pid)
            os.kill(child, signal.SIGHUP)
            while "wireguard_exporter_database_up" in (page := scrape(port)) and RECORDED not in page:
                assert FAILING not in page, page
                time.sleep(0.2)
            os.kill(child, signal.SIGTERM)
            process.stderr.read()
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                for each in (*children(process.pid), process.pid):  # strace's end is not the daemon's
                    os.kill(each, signal.SIGKILL)
    return calls.read_text()


def scrape(port: int) -> str:
    """One page, whatever is on this machine, as soon as the daemon listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                assert answer.status == 200
                return str(answer.read().decode())
        except (ConnectionError, urllib.error.URLError):
            assert time.monotonic() < deadline, "the daemon never listened"
            time.sleep(0.05)


@needs_systemd
@needs_strace
def test_the_daemon_makes_no_system_call_that_the_unit_refuses(trace: str) -> None:
    """Everything that the daemon calls is within SystemCallFilter."""
    groups: dict[str, set[str]] = {}
    for line in analyze("syscall-filter").splitlines():
        word = line.split("#")[0].strip()
        if line.startswith("@"):
            current = groups.setdefault(word, set())
        elif word:
            current.add(word)

    def members(name: str) -> set[str]:
        return set().union(*(members(word) if word[0] == "@" else {word} for word in groups[name]))

    allowed, refused = settings(UNIT)["SystemCallFilter"]
    permitted = members(allowed).union(members("@default"))
    for name in refused.removeprefix("~").split():
        permitted -= members(name)
    called = set(re.findall(r"^[0-9]+ +([a-z][a-z0-9_]*)\(", trace, re.MULTILINE))
    assert "epoll_wait" in called
    as_root = BY_ROOT if os.geteuid() == 0 else set()  # the service is not
    assert called - permitted - as_root == set()


@needs_strace
def test_the_daemon_opens_no_other_sockets_and_no_writable_code(trace: str) -> None:
    """The daemon opens only sockets of the unit's address families, and does nothing that
    MemoryDenyWriteExecute refuses."""
    families = set(re.findall(r" socket\((AF_[A-Z0-9]+)", trace))
    assert "AF_INET" in families
    assert families <= set(settings(UNIT)["RestrictAddressFamilies"][0].split())
    mapped = re.findall(r" (?:mmap|mprotect)\((.*?)\)", trace)
    assert mapped
    assert not [call for call in mapped if "PROT_WRITE" in call and "PROT_EXEC" in call]
