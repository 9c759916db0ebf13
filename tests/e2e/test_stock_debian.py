"""Debian 12 as it comes, with the commands of the README: installation, check, show, serve, TLS."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.kit import debianroot
from tests.kit.clone import clone, files
from tests.kit.debianroot import DebianRoot, debian_root
from tests.kit.pages import PAGES, fenced
from tests.kit.paths import PROJECT
from tests.kit.web import make_pair, password_hash

README = PAGES["README.md"]
CLONE = "root/argus-wireguard"
PATIENCE = 60.0  # seconds; a bound for waiting, far above what is needed
FINDING = re.compile(r"^(?:ok|warning|failed) .*$", re.MULTILINE)
# One userspace interface with one peer, in the network of the root.
INTERFACE = """
wireguard-go wg0
wg genkey >/root/key
wg set wg0 private-key /root/key listen-port 51820
wg set wg0 peer "$(wg genkey | wg pubkey)" allowed-ips 192.0.2.2/32
"""


def missing() -> str:
    """Why the test cannot run on this host, "" if it can."""
    if shutil.which("curl") is None:
        return "needs curl"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return debianroot.missing() or debianroot.unreachable()


@dataclass(frozen=True)
class Installed:
    """A root with Argus in it. `left` is what the installation changed in the clone."""

    root: DebianRoot
    left: set[str]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """A new Debian 12 after the commands of the README's installation."""
    if reason := missing():
        pytest.skip(reason)
    with debian_root() as root:
        tree = clone(root.folder / CLONE)
        before = files(tree)
        root.run("apt-get update", network=True)
        for command in re.findall(r"`(apt-get install [^`]+)`", README):
            root.run(command, network=True)
        root.run(f"cd /{CLONE}\n{block('sh', 'pip install --require-hashes')}", network=True)
        left = files(tree) ^ before
        root.run("apt-get install --no-install-recommends wireguard-go wireguard-tools", network=True)
        root.run(INTERFACE)
        subprocess.run(root.outside("ip", "link", "set", "wg0", "up"), check=True)
        yield Installed(root, left)


@pytest.fixture
def root(installed: Installed) -> DebianRoot:
    return installed.root


def block(language: str, containing: str) -> str:
    """The fenced block of the README that contains a text."""
    (found,) = (text for text in fenced(README, language) if containing in text)
    return found


def findings(root: DebianRoot, command: str) -> tuple[int, set[str]]:
    """The exit code of `check`, and each line of a finding that is not ok."""
    done = root.attempt(command)
    lines = FINDING.findall(done.stdout)
    assert len(lines) > 5, done.stdout
    return done.returncode, {line for line in lines if not line.startswith("ok ")}


def write_configuration(root: DebianRoot) -> Path:
    """The README's configuration with deploy/web-config.yml as web.yml and the certificates that it names."""
    folder = root.folder / "etc/argus-wireguard"
    folder.mkdir()
    (folder / "argus-wg.yml").write_text(block("yaml", "web_config:"))
    (folder / "directory.yml").write_text(block("yaml", "criticality:"))
    shutil.copy(PROJECT / "deploy/web-config.yml", folder / "web.yml")
    authority = make_pair(folder, "clients-ca")
    make_pair(folder, "server", authority)
    make_pair(folder, "prometheus", authority, [x509.DNSName("prometheus.example.com")])
    return folder


@contextmanager
def serving(root: DebianRoot, *options: str) -> Iterator[Path]:
    """`argus-wg serve` in the root. At the end it must stop cleanly, without a traceback in its log."""
    log = root.folder / "root/serve.log"
    start = root.command("sh", "-c", 'echo $$ >/run/serve.pid; exec argus-wg serve "$@"', "sh", *options)
    with log.open("wb") as file:
        process = subprocess.Popen(start, env=dict(root.environment), stdout=file, stderr=file)
    try:
        yield log
        root.run("kill -TERM $(cat /run/serve.pid)")
        assert process.wait(PATIENCE) == 0, log.read_text()
        assert not re.search("Traceback|never retrieved", log.read_text()), log.read_text()
    finally:
        process.kill()
        process.wait()


def eventually(attempt: Callable[[], subprocess.CompletedProcess[str]], log: Path) -> str:
    """The output of a command, after it succeeded."""
    deadline = time.monotonic() + PATIENCE
    while (done := attempt()).returncode != 0:
        assert time.monotonic() < deadline, f"{done.stdout}{done.stderr}{log.read_text()}"
        time.sleep(0.2)
    return done.stdout


def test_the_python_is_debians(root: DebianRoot) -> None:
    """The interpreter is that of the distribution, and not one of the host."""
    assert root.run("/opt/argus-wg/bin/python --version").startswith("Python 3.11.2")


def test_the_installation_leaves_the_clone_as_it_was(installed: Installed) -> None:
    """No build folder and no metadata stay behind in the clone."""
    assert installed.left == set()


def test_check_is_content(root: DebianRoot) -> None:
    """Without a configuration file, `check` finds everything that the daemon needs."""
    assert findings(root, "argus-wg check") == (0, set())


def test_show_lists_the_peer(root: DebianRoot) -> None:
    """`show --once` of the README prints the interface and its peer."""
    (command,) = re.findall(r"^argus-wg show --once$", block("sh", "argus-wg check"), re.MULTILINE)
    key = root.run("wg show wg0 peers").strip()
    printed = root.attempt(command).stdout
    assert "wg0" in printed
    assert key[:8] in printed


def test_serve_answers_the_curl_of_the_readme(root: DebianRoot) -> None:
    """Without a configuration file, the daemon serves the interface on loopback."""
    (curl,) = re.findall(r"^curl .*$", block("sh", "systemctl enable"), re.MULTILINE)
    command = root.outside("sh", "-c", curl)
    with serving(root) as log:
        printed = eventually(
            lambda: subprocess.run(command, capture_output=True, text=True, check=False), log
        )
    assert 'wireguard_interface_peers{interface="wg0"' in printed


def test_tls_as_shipped(root: DebianRoot) -> None:
    """With the README's files and deploy/web-config.yml: `check` passes, only the client that has certificate
    and password is answered, and the query of the README reads the records."""
    folder = write_configuration(root)
    assert findings(root, "argus-wg check") == (0, set())
    password, web = "correct horse", folder / "web.yml"
    web.write_text(re.sub(r"\$2y\$\S+", lambda _: password_hash(password), web.read_text()))
    certificate = ["--cert", str(folder / "prometheus.crt"), "--key", str(folder / "prometheus.key")]
    curl = ["curl", "-sS", "--fail", "--max-time", "10", "--cacert", str(folder / "clients-ca.crt")]
    address = "https://127.0.0.1:9586/metrics"

    def scrape(*options: str) -> subprocess.CompletedProcess[str]:
        command = root.outside(*curl, *options, address)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with serving(root) as log:
        page = eventually(lambda: scrape(*certificate, "--user", f"prometheus:{password}"), log)
        assert 'wireguard_interface_info{interface="wg0"' in page
        assert scrape("--user", f"prometheus:{password}").returncode != 0
        assert scrape(*certificate).returncode == 22  # an answer of 400 or above
        psql = block("sh", "psql -c")
        assert "received" in eventually(lambda: root.attempt(psql), log)
