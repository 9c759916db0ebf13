"""A whole gateway: the kernel, userspace and namespaces. A failure affects only its own reading."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from exporter.config import InterfaceSettings
from exporter.errors import ModuleMissing
from exporter.model import Device, Link, Snapshot
from exporter.sources.gateway import NETNS_DIRECTORY, Gateway, other_namespaces
from exporter.sources.netlink import resolve_family
from exporter.sources.uapi import UapiSource
from tests.kernel.guest.helpers import Namespace, namespace, run
from tests.kit.daemon import make_stale_socket
from tests.kit.paths import PROJECT
from tests.kit.servers.uapiserver import Dialogue, UapiServer, like_boringtun, like_wireguard_go

PATIENCE = 20.0  # seconds
IMPATIENCE = 0.3  # seconds, for a source that never answers

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and ip, for network namespaces"
)


def module_is_missing() -> bool:
    try:
        resolve_family()
    except ModuleMissing:
        return True
    return False


needs_no_module = pytest.mark.skipif(not module_is_missing(), reason="this kernel has WireGuard")


def reply(port: int, errno: int = 0) -> bytes:
    """The reply of an interface with one peer."""
    return f"listen_port={port}\npublic_key={port:064x}\nrx_bytes=1\ntx_bytes=2\nerrno={errno}\n\n".encode()


def silent(connection: socket.socket, ending: threading.Event) -> None:
    """Receives the request and does not answer."""
    ending.wait()


@contextlib.contextmanager
def userspace(directory: Path, **interfaces: Dialogue) -> Iterator[None]:
    """Serves a UAPI socket for each name."""
    with contextlib.ExitStack() as servers:
        for name, dialogue in interfaces.items():
            servers.enter_context(UapiServer(directory / f"{name}.sock", dialogue))
        yield


def gateway(
    directory: Path,
    *,
    namespaces: Sequence[str] = (),
    all_namespaces: bool = False,
    interfaces: InterfaceSettings | None = None,
    netlink: bool = True,
    timeout: float = PATIENCE,
) -> Gateway:
    return Gateway(
        "gw",
        uapi_directory=directory,
        namespaces=namespaces,
        all_namespaces=all_namespaces,
        wanted=(interfaces or InterfaceSettings()).wanted,
        netlink=netlink,
        timeout=timeout,
    )


def reasons(snapshot: Snapshot) -> dict[tuple[str, str], str]:
    """(source, interface) → reason of each reading. No reading may occur twice."""
    found = {(reading.source, reading.interface): reading.reason for reading in snapshot.readings}
    assert len(found) == len(snapshot.readings)
    return found


def names(snapshot: Snapshot) -> list[str]:
    """The labels of the userspace devices."""
    return [device.label for device in snapshot.devices if device.kind == "userspace"]


class TestUserspace:
    def test_userspace_interfaces_are_read(self, tmp_path: Path) -> None:
        """Both userspace implementations are read; listing the kernel's interfaces is a separate reading."""
        one, two = like_wireguard_go(reply(1)), like_boringtun(reply(2))
        with userspace(tmp_path, wg0=one, wg1=two):
            earliest = time.time()
            snapshot = gateway(tmp_path).read()
        devices = {device.label: device for device in snapshot.devices if device.kind == "userspace"}
        assert {label: device.listen_port for label, device in devices.items()} == {"wg0": 1, "wg1": 2}
        assert list(devices["wg1"].transmit_bytes) == [2]
        found = reasons(snapshot)
        assert {("netlink", ""), ("uapi", ""), ("uapi", "wg0"), ("uapi", "wg1")} <= found.keys()
        assert set(found.values()) == {""}
        assert snapshot.gateway == "gw"
        assert earliest <= snapshot.taken_at <= time.time()

    def test_a_failing_interface_affects_no_other(self, tmp_path: Path) -> None:
        """Sockets that are refused, silent, cut off, malformed or stale each give their reason; the others
        are read."""
        make_stale_socket(tmp_path / "a-stale.sock")
        dialogues = {
            "b-refused": like_wireguard_go(reply(1, errno=1)),
            "c-silent": silent,
            "d-cut": like_boringtun(b"listen_port=1\n"),
            "e-nonsense": like_boringtun(b"what\n\n"),
            "f-good": like_wireguard_go(reply(6)),
            "g-good": like_boringtun(reply(7)),
        }
        with userspace(tmp_path, **dialogues):
            source = gateway(tmp_path, timeout=IMPATIENCE)
            snapshots = [source.read(), source.read()]
        for snapshot in snapshots:
            assert names(snapshot) == ["f-good", "g-good"]
            found = reasons(snapshot)
            assert {interface: found["uapi", interface] for interface in ("", "f-good", "g-good")} == {
                "": "",
                "f-good": "",
                "g-good": "",
            }
            assert found["uapi", "a-stale"] == "stale-socket"
            assert found["uapi", "b-refused"] != ""
            assert found["uapi", "c-silent"] == "timeout"
            assert found["uapi", "d-cut"] == "truncated"
            assert found["uapi", "e-nonsense"] == "malformed"
        assert (tmp_path / "a-stale.sock").is_socket()

    def test_an_excluded_interface_is_not_connected_to(self, tmp_path: Path) -> None:
        """The socket of an excluded interface gets no connection, and there is no reading of it."""
        asked: list[str] = []

        def noting(name: str) -> Dialogue:
            answer = like_boringtun(reply(1))

            def dialogue(connection: socket.socket, ending: threading.Event) -> None:
                asked.append(name)
                answer(connection, ending)

            return dialogue

        with userspace(tmp_path, **{name: noting(name) for name in ("wg0", "wg1", "wg1-test", "tun0")}):
            wanted = InterfaceSettings(include=("wg*",), exclude=("*-test",))
            snapshot = gateway(tmp_path, interfaces=wanted, netlink=False).read()
        assert names(snapshot) == sorted(asked) == ["wg0", "wg1"]
        assert reasons(snapshot).keys() == {("uapi", ""), ("uapi", "wg0"), ("uapi", "wg1")}

    def test_sockets_are_read_at_the_same_time(self, tmp_path: Path) -> None:
        """Each socket answers only after all got a request, so a stuck one does not delay the next."""
        together = threading.Barrier(5)

        def waiting(connection: socket.socket, ending: threading.Event) -> None:
            together.wait(PATIENCE)
            like_boringtun(reply(1))(connection, ending)

        with userspace(tmp_path, **{f"wg{number}": waiting for number in range(5)}):
            snapshot = gateway(tmp_path, netlink=False).read()
        assert names(snapshot) == [f"wg{number}" for number in range(5)]

    def test_a_removed_and_a_new_socket(self, tmp_path: Path) -> None:
        """The next reading has no failure for a removed socket, and reads a new one."""
        source = gateway(tmp_path, netlink=False)
        with userspace(tmp_path, wg0=like_boringtun(reply(1))):
            assert names(source.read()) == ["wg0"]
        with userspace(tmp_path, wg1=like_boringtun(reply(1))):
            snapshot = source.read()
        assert names(snapshot) == ["wg1"]
        assert set(reasons(snapshot).values()) == {""}


class TestModule:
    @needs_no_module
    def test_a_host_without_wireguard(self, tmp_path: Path) -> None:
        """On a host without WireGuard the only failure says that the module is missing and how to load it."""
        snapshot = gateway(tmp_path).read()
        assert reasons(snapshot) == {("netlink", ""): "module", ("uapi", ""): ""}
        assert "modprobe wireguard" in snapshot.readings[0].remedy
        assert snapshot.devices == ()

    @needs_no_module
    def test_no_module_but_userspace_interfaces(self, tmp_path: Path) -> None:
        """A missing module is a failure only while there is no userspace interface."""
        source = gateway(tmp_path)
        with userspace(tmp_path, wg0=like_boringtun(reply(1))):
            assert reasons(source.read())["netlink", ""] == ""
        assert reasons(source.read())["netlink", ""] == "module"

    def test_sources_that_are_turned_off(self, tmp_path: Path) -> None:
        """A source that is turned off has no reading: the kernel, and userspace."""
        assert reasons(gateway(tmp_path, netlink=False).read()) == {("uapi", ""): ""}
        kernel_alone = Gateway("gw", uapi_directory=None).read()
        assert {reading.source for reading in kernel_alone.readings} == {"netlink"}


@needs_root
class TestNamespaces:
    def test_a_missing_namespace(self, tmp_path: Path) -> None:
        """A configured namespace that does not exist gives a failed reading with its name, and is not
        created."""
        missing = f"argus-missing-{os.getpid()}"
        with namespace() as space, userspace(tmp_path, wg0=like_boringtun(reply(1))):
            snapshot = gateway(tmp_path, namespaces=(missing, space.name)).read()
        found = reasons(snapshot)
        assert found[f"netlink@{missing}", ""] == "namespace"
        assert found[f"netlink@{space.name}", ""] == found["netlink", ""] == found["uapi", "wg0"] == ""
        (message,) = (reading.explanation for reading in snapshot.readings if not reading.ok)
        assert missing in message
        assert "ip netns list" in message
        assert not (NETNS_DIRECTORY / missing).exists()

    def test_a_namespace_that_is_removed_and_created_again(self, tmp_path: Path) -> None:
        """A namespace can be removed after a reading; its next reading fails until it exists again."""
        with userspace(tmp_path, wg0=like_boringtun(reply(1))):
            with namespace() as space:
                source = gateway(tmp_path, namespaces=(space.name,))
                assert reasons(source.read())[f"netlink@{space.name}", ""] == ""
            assert reasons(source.read())[f"netlink@{space.name}", ""] == "namespace"
            run("ip", "netns", "add", space.name)
            try:
                assert reasons(source.read())[f"netlink@{space.name}", ""] == ""
            finally:
                run("ip", "netns", "delete", space.name)

    def test_a_namespace_name_that_is_not_ascii(self, tmp_path: Path) -> None:
        """A namespace whose name is not ASCII is read like any other."""
        name = f"argus-größe-{os.getpid()}"
        run("ip", "netns", "add", name)
        try:
            found = reasons(gateway(tmp_path, namespaces=(name,)).read())
        finally:
            run("ip", "netns", "delete", name)
        assert found[f"netlink@{name}", ""] == ""

    def test_a_file_instead_of_a_namespace(self, tmp_path: Path) -> None:
        """The plain file that a crashed `ip netns add` leaves behind gives a failed reading with its name."""
        leftover = NETNS_DIRECTORY / f"argus-leftover-{os.getpid()}"
        with namespace():  # creates the directory if there is none
            leftover.touch(0)
            try:
                snapshot = gateway(tmp_path, namespaces=(leftover.name,)).read()
            finally:
                leftover.unlink()
        (failed,) = (reading for reading in snapshot.readings if reading.source.endswith(leftover.name))
        assert failed.reason == "failed"
        assert leftover.name in failed.message

    def test_all_namespaces_except_the_own_one(self, tmp_path: Path) -> None:
        """`all` finds every named namespace, except other names of the process's own."""
        own = f"argus-own-{os.getpid()}"
        with namespace() as space:
            run("ip", "netns", "attach", own, str(os.getpid()))
            try:
                listed = other_namespaces()
                found = reasons(gateway(tmp_path, all_namespaces=True).read())
            finally:
                run("ip", "netns", "delete", own)
        assert space.name in listed
        assert own not in listed
        assert found[f"netlink@{space.name}", ""] == ""
        assert (f"netlink@{own}", "") not in found

    def test_a_directory_without_namespaces(self, tmp_path: Path) -> None:
        """Without the directory of named namespaces there are none."""
        assert other_namespaces(tmp_path / "missing") == []

    def test_a_userspace_interface_has_the_link_of_its_name(self, tmp_path: Path) -> None:
        """The link counters of a userspace interface come from the namespace with a link of its name; the
        daemon's own namespace is searched first."""
        with (
            namespace() as own,
            namespace() as other,
            userspace(
                tmp_path, **dict.fromkeys(("in-both", "in-other", "in-none"), like_boringtun(reply(1)))
            ),
        ):
            add_links(own, up=True, names=("in-both",))
            add_links(other, up=False, names=("in-both",))
            add_links(other, up=True, names=("in-other",))
            snapshot = own.call(gateway(tmp_path, namespaces=(other.name,)).read)
        found = {device.name: device.link for device in snapshot.devices}
        assert found.keys() == {"in-both", "in-other", "in-none"}
        assert [is_up(found[name]) for name in ("in-both", "in-other")] == [True, True]
        assert found["in-none"] is None

    def test_without_the_capability_to_enter(self, tmp_path: Path) -> None:
        """Without CAP_SYS_ADMIN the reading of the namespace fails with that reason; everything else is
        read."""
        with namespace() as space, userspace(tmp_path, wg0=like_boringtun(reply(1))):
            without = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
            done = subprocess.run(
                [*without, sys.executable, "-c", READINGS, str(tmp_path), space.name],
                cwd=PROJECT,
                check=True,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        found = json.loads(done.stdout)
        reason, message = found.pop(f"netlink@{space.name}")
        assert reason == "permission"
        assert "CAP_SYS_ADMIN" in message
        assert found == {"netlink": ["", ""], "uapi": ["", ""], "wg0": ["", ""]}


READINGS = """
import json, sys
from pathlib import Path
from exporter.sources.gateway import Gateway
snapshot = Gateway("gw", uapi_directory=Path(sys.argv[1]), namespaces=[sys.argv[2]]).read()
print(json.dumps({each.interface or each.source: [each.reason, each.message] for each in snapshot.readings}))
"""


def add_links(space: Namespace, *, up: bool, names: Sequence[str]) -> None:
    """Adds links of a kind that every kernel has."""
    for name in names:
        space.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
        if up:
            space.run("ip", "link", "set", name, "up")


def is_up(link: Link | None) -> bool:
    return link is not None and link.up


def test_an_unexpected_exception_costs_one_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that no reader expects fails the reading of its interface; the others are read. The
    message has the type of the exception and its place in the code, and not its text."""
    read = UapiSource.read

    def broken(self: UapiSource, name: str) -> Device:
        if name == "wg0":
            raise struct.error("text that may hold a key")
        return read(self, name)

    monkeypatch.setattr(UapiSource, "read", broken)
    with userspace(tmp_path, wg0=like_wireguard_go(reply(1)), wg1=like_wireguard_go(reply(2))):
        snapshot = Gateway("gw", netlink=False, uapi_directory=tmp_path).read()
    readings = {reading.interface: reading for reading in snapshot.readings}
    assert {name: reading.reason for name, reading in readings.items()} == {
        "": "",
        "wg0": "failed",
        "wg1": "",
    }
    assert readings["wg0"].message.startswith("reading failed unexpectedly: error at test_gateway.py:")
    assert [device.name for device in snapshot.devices] == ["wg1"]


LIMITED = """
import json, resource, sys
from pathlib import Path
from exporter.sources.gateway import Gateway
gateway = Gateway("gw", uapi_directory=Path(sys.argv[1]), namespaces=["argus-none"])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
found = []
for limit in range(32):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    found.append({each.interface or each.source: each.reason for each in gateway.read().readings})
print(json.dumps(found))
"""


def test_a_process_without_file_descriptors(tmp_path: Path) -> None:
    """With few file descriptors left, readings that need one fail, and nothing raises."""
    make_stale_socket(tmp_path / "wg0.sock")
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=PATIENCE)
    found = json.loads(done.stdout)
    assert found[0] == {"netlink": "failed", "netlink@argus-none": "failed", "uapi": "failed"}
    enough = {"netlink": "", "netlink@argus-none": "namespace", "uapi": "", "wg0": "stale-socket"}
    assert found[-1].items() >= enough.items()
