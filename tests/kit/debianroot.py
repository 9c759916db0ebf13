"""A pristine Debian 12 in a folder: made by debootstrap from the host's mirror, entered by chroot.

The root has namespaces of its own for mounts, processes and network; they end with it.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

RELEASE = "bookworm"
TOOLS = ("debootstrap", "apt-get", "unshare", "nsenter", "ip")
NAMESPACES = ("--mount", "--pid", "--net")
PATIENCE = 300.0  # seconds; a bound for one command
# What programs other than pip read; a value may be the path of a file or folder.
ENVIRONMENT = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy")
# The mounts of a Debian. The first process of the new namespaces keeps them.
BEGIN = """
set -e
ip link set lo up
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
exec chroot "$1" sh -c "echo ready; exec sleep infinity"
"""


@dataclass(frozen=True)
class DebianRoot:
    """A running root. `keeper` is the first process in it, which keeps its namespaces."""

    folder: Path
    keeper: int
    environment: Mapping[str, str]

    def command(self, *words: str, network: bool = False) -> list[str]:
        """`words` as they are run in the root: in its own network, or with `network` in the host's."""
        entered = ["--mount", "--pid", "--root", "--wd", *([] if network else ["--net"])]
        return ["nsenter", f"--target={self.keeper}", *entered, *words]

    def outside(self, *words: str) -> list[str]:
        """`words` as a command of the host that runs in the root's network."""
        return ["nsenter", f"--target={self.keeper}", "--net", *words]

    def run(self, script: str, network: bool = False) -> str:
        """The output of a shell script in the root. If the script fails, the test fails with this output."""
        done = self.attempt(script, network)
        assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def attempt(self, script: str, network: bool = False) -> subprocess.CompletedProcess[str]:
        """The exit code and the output of a shell script in the root."""
        return subprocess.run(
            self.command("sh", "-ec", script, network=network),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def missing() -> str:
    """Why no root can be created on this host, "" if it can."""
    if os.geteuid() != 0:
        return "needs root, for debootstrap and chroot"
    for tool in TOOLS:
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"needs {tool}"
    entered = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, check=False)
    if entered.returncode != 0:
        return f"cannot make namespaces: {entered.stderr.decode().strip()}"
    return ""


def unreachable() -> str:
    """Why packages of Debian 12 cannot be downloaded, "" if they can."""
    mirror = next((site for site, suite in sources() if suite == RELEASE), None)
    if mirror is None:
        return "needs a source of Debian 12 in the configuration of apt"
    try:
        with urllib.request.urlopen(f"{mirror}/dists/{RELEASE}/Release", timeout=20):
            return ""
    except OSError as error:
        return f"the mirror of apt cannot be reached: {error}"


def sources() -> list[tuple[str, str]]:
    """(address, suite) of each source of Debian 12 that the host's apt has."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in listed.splitlines()]
    return [
        (site.rstrip("/"), suite)
        for site, suite, component in found
        if component == "main" and suite.partition("-")[0] == RELEASE
    ]


@contextlib.contextmanager
def debian_root() -> Iterator[DebianRoot]:
    """A minimal Debian 12 that reaches its packages as the host does, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="argus-debian-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        _bootstrap(folder)
        _configure_apt(folder)
        environment = _environment(folder)
        with _kept(folder) as keeper:
            yield DebianRoot(folder, keeper, environment)


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[int]:
    """The process id of the keeper. All processes of the root end before the keeper ends."""
    start = ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-c", BEGIN, "sh", str(folder)]
    with subprocess.Popen(start, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            keeper = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
            yield keeper
            os.kill(keeper, signal.SIGKILL)
            process.wait(PATIENCE)
        finally:
            process.kill()


def _bootstrap(folder: Path) -> None:
    mirror = next(site for site, suite in sources() if suite == RELEASE)
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", RELEASE, str(folder), mirror],
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _configure_apt(folder: Path) -> None:
    """Configures apt with the host's sources and proxy, without questions, and without starting services."""
    lines = [f"deb {site} {suite} main\n" for site, suite in sources()]
    (folder / "etc/apt/sources.list").write_text("".join(lines))
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True)
    kept = ("Acquire::http", "Acquire::https", "Acquire::Check-")
    settings = [line for line in dump.stdout.splitlines() if line.startswith(kept)]
    settings += ['APT::Get::Assume-Yes "true";', 'Acquire::Languages "none";']
    (folder / "etc/apt/apt.conf.d/99host").write_text("\n".join(settings) + "\n")
    policy = folder / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a root login, and how pip reaches its packages on this host."""
    settings = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):  # it has precedence
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].upper().replace("-", "_")
        settings[f"PIP_{option}"] = str(ast.literal_eval(value))
    return {
        **{name: _carried(folder, value) for name, value in settings.items()},
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def _carried(folder: Path, value: str) -> str:
    """The value of a setting. A file of the host that the value names is copied into the root."""
    source = Path(value)
    if not source.is_absolute() or not source.exists():
        return value
    target = folder / "host" / source.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    return f"/{target.relative_to(folder)}"
