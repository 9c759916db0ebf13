"""UAPI sockets of a replaying server, read by Argus and by wg(8)."""

from __future__ import annotations

import base64
import contextlib
import operator
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter import errors
from exporter.sources.uapi import DIRECTORY, UapiSource
from tests.kit.paths import TESTDATA
from tests.kit.privilege import without_privilege
from tests.kit.servers.uapiserver import (
    Dialogue,
    UapiServer,
    like_boringtun,
    like_wireguard_go,
    product_rows,
    request,
    wg_rows,
)

UAPI = TESTDATA / "uapi"
WIREGUARD_GO = (UAPI / "wireguard-go-tunnel.txt").read_bytes()
BORINGTUN = (UAPI / "boringtun-tunnel.txt").read_bytes()
PATIENCE = 60  # seconds, for readings that must succeed however busy the machine is
IMPATIENCE = 0.3  # seconds, for readings that cannot succeed

needs_wg = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("wg") is None,
    reason="needs root and wg(8), which looks for sockets in /var/run/wireguard only",
)


@pytest.fixture
def wg_directory() -> Iterator[Path]:
    """The directory of wg(8), restored afterwards."""
    made = not DIRECTORY.exists()
    DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    yield DIRECTORY
    if made:
        with contextlib.suppress(OSError):  # another process has created a socket in it
            DIRECTORY.rmdir()


# The same bytes for Argus and for wg(8)


@needs_wg
@pytest.mark.parametrize("file", ["wireguard-go-tunnel.txt", "wireguard-go-new.txt", "boringtun-new.txt"])
@pytest.mark.parametrize("behaviour", [like_wireguard_go, like_boringtun])
def test_argus_and_wg_read_the_same(
    wg_directory: Path, file: str, behaviour: Callable[[bytes], Dialogue]
) -> None:
    """Every field of the device equals that of `wg show IF dump` for the same reply."""
    name = f"argus{os.getpid()}"
    with UapiServer(wg_directory / f"{name}.sock", behaviour((UAPI / file).read_bytes())):
        device = UapiSource(wg_directory, PATIENCE).read(name)
        assert product_rows(device) == wg_rows(name)


@needs_wg
def test_argus_reads_more_of_boringtun_than_wg(wg_directory: Path) -> None:
    """wg(8) ignores boringtun's own public key and shows its handshakes as 1970; the other fields are
    equal."""
    name = f"argus{os.getpid()}"
    with UapiServer(wg_directory / f"{name}.sock", like_boringtun(BORINGTUN)):
        earliest = time.time()
        device = UapiSource(wg_directory, PATIENCE).read(name)
        latest = time.time()
        interface, peers = wg_rows(name)
    own, shown = product_rows(device)
    assert own == ("JUs+ujQkw/wMau8mWcJAfxBWeRLAGsn14pwRE2Ug+gg=", *interface[1:])
    assert interface[0] == "(none)"
    assert {row[:4] + row[5:] for row in shown} == {row[:4] + row[5:] for row in peers}
    since = {row[0]: int(row[4]) for row in peers}
    for peer, handshake in zip(device.peers, device.last_handshake, strict=True):
        if peer.persistent_keepalive == 25:
            assert since[peer.public_key] == 37
            assert int(earliest - 37.5) <= handshake <= int(latest - 37.5)


# Many interfaces and many peers


def test_many_interfaces_are_read_in_worker_threads(tmp_path: Path) -> None:
    """Fifty interfaces that are read by eight threads each give their own device."""
    names = sorted(f"wg{number}" for number in range(50))
    with contextlib.ExitStack() as servers, ThreadPoolExecutor(8) as threads:
        for number, name in enumerate(names):
            reply = f"listen_port={1000 + number}\nerrno=0\n\n".encode()
            servers.enter_context(UapiServer(tmp_path / f"{name}.sock", like_boringtun(reply)))
        source = UapiSource(tmp_path, PATIENCE)
        assert source.list() == names
        devices = list(threads.map(source.read, names))
    assert [device.name for device in devices] == names
    assert sorted(device.listen_port for device in devices) == list(range(1000, 1050))


def test_hundred_thousand_peers(tmp_path: Path) -> None:
    """100,000 peers with two allowed IPs each, 39 MB, are read completely, and as the same objects the next
    time."""
    count = 100_000
    lines = [f"private_key={'7' * 64}\n"]
    for number in range(count):
        lines.append(
            f"public_key={number:064x}\npreshared_key={'0' * 64}\nprotocol_version=1\n"
            f"endpoint=192.0.2.1:{1 + number % 65535}\n"
            f"last_handshake_time_sec={1_700_000_000 + number}\nlast_handshake_time_nsec=1\n"
            f"tx_bytes={number}\nrx_bytes={2 * number}\npersistent_keepalive_interval=25\n"
            f"allowed_ip=10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32\n"
            f"allowed_ip=fd00::{number >> 16:x}:{number & 65535:x}/128\n"
        )
    reply = "".join([*lines, "errno=0\n\n"]).encode()
    source = UapiSource(tmp_path, PATIENCE)
    with UapiServer(tmp_path / "wg0.sock", like_wireguard_go(reply)):
        first, second = source.read("wg0"), source.read("wg0")
    assert len(first.peers) == count
    assert all(map(operator.is_, first.peers, second.peers))
    columns = (second.peers, second.last_handshake, second.transmit_bytes, second.receive_bytes)
    for peer, handshake, transmitted, received in zip(*columns, strict=True):
        number = int.from_bytes(base64.b64decode(peer.public_key))
        assert (handshake, transmitted, received) == (1_700_000_000 + number, number, 2 * number)
        assert peer.endpoint == f"192.0.2.1:{1 + number % 65535}"
        assert peer.allowed_ips[0] == f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"


def test_removed_interface_is_forgotten(tmp_path: Path) -> None:
    """After its socket was missing in a listing, an interface of the same name has new peer objects."""
    source = UapiSource(tmp_path, PATIENCE)
    with UapiServer(tmp_path / "wg0.sock", like_boringtun(WIREGUARD_GO)):
        first, second = source.read("wg0"), source.read("wg0")
    assert first.peers[0] is second.peers[0]
    assert source.list() == []
    with UapiServer(tmp_path / "wg0.sock", like_boringtun(WIREGUARD_GO)):
        assert source.read("wg0").peers[0] is not first.peers[0]


# The directory


def test_missing_directory(tmp_path: Path) -> None:
    """A missing directory means no userspace interfaces, and is not an error."""
    assert UapiSource(tmp_path / "none", PATIENCE).list() == []


def test_only_sockets_are_interfaces(tmp_path: Path) -> None:
    """Plain files, directories, dangling links and sockets without the suffix `.sock` are not listed."""
    (tmp_path / "file.sock").write_text("")
    (tmp_path / "directory.sock").mkdir()
    (tmp_path / "dangling.sock").symlink_to(tmp_path / "nowhere")
    with (
        UapiServer(tmp_path / "wg0.sock", like_boringtun(b"")),
        UapiServer(tmp_path / "other.socket", like_boringtun(b"")),
    ):
        assert UapiSource(tmp_path, PATIENCE).list() == ["wg0"]


def test_unreadable_directory_is_a_missing_permission(tmp_path: Path) -> None:
    """A directory that this user cannot list gives an error with its path."""
    tmp_path.chmod(0)
    with without_privilege(), pytest.raises(errors.PermissionMissing, match=str(tmp_path)):
        UapiSource(tmp_path, PATIENCE).list()
    tmp_path.chmod(0o700)


def test_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """A path that is not a directory gives an error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.ReadFailed, match="Not a directory"):
        UapiSource(tmp_path / "file", PATIENCE).list()


# Readings that fail


def test_socket_of_another_user_is_a_missing_permission(tmp_path: Path) -> None:
    """A socket that this user cannot write to gives another error than a removed or stale one."""
    path = tmp_path / "wg0.sock"
    with UapiServer(path, like_boringtun(WIREGUARD_GO)):
        path.chmod(0)
        with without_privilege(), pytest.raises(errors.PermissionMissing, match=r"wg0: .*wg0\.sock"):
            UapiSource(tmp_path, PATIENCE).read("wg0")


def test_stale_socket_is_reported_and_left_alone(tmp_path: Path) -> None:
    """A socket without a process gives an error with its remedy, and the file is not changed."""
    path = tmp_path / "wg0.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abandoned:
        abandoned.bind(str(path))
    before = path.stat()
    source = UapiSource(tmp_path, PATIENCE)
    assert source.list() == ["wg0"]
    with pytest.raises(errors.SocketStale, match="start the interface again, or remove the file"):
        source.read("wg0")
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def test_vanished_interface(tmp_path: Path) -> None:
    """An interface that is removed between listing and reading gives its own error."""
    with pytest.raises(errors.InterfaceVanished, match=r"wg0: .* the interface was removed"):
        UapiSource(tmp_path, PATIENCE).read("wg0")


def silent(connection: socket.socket, ending: threading.Event) -> None:
    """Receives the request and never answers."""
    request(connection)
    ending.wait()


def slow(connection: socket.socket, ending: threading.Event) -> None:
    """Sends single bytes, each within the timeout, for ten times the timeout; then closes."""
    request(connection)
    for byte in WIREGUARD_GO[:100]:
        connection.sendall(bytes([byte]))
        if ending.wait(IMPATIENCE / 10):
            return


def stopping(connection: socket.socket, ending: threading.Event) -> None:
    """Sends half of a reply and keeps the connection open."""
    request(connection)
    connection.sendall(WIREGUARD_GO[: len(WIREGUARD_GO) // 2])
    ending.wait()


@pytest.mark.parametrize("dialogue", [silent, slow, stopping])
def test_one_deadline_for_the_whole_reading(tmp_path: Path, dialogue: Dialogue) -> None:
    """No answer, a slow answer and half an answer all end at the deadline; received bytes do not extend
    it."""
    with (
        UapiServer(tmp_path / "wg0.sock", dialogue),
        pytest.raises(errors.ReadTimeout, match=r"wg0: no complete answer .* within 0\.3 s"),
    ):
        UapiSource(tmp_path, IMPATIENCE).read("wg0")


def test_process_with_a_full_backlog_times_out(tmp_path: Path) -> None:
    """The reading of a stuck process with a full backlog ends at the deadline."""
    path = str(tmp_path / "wg0.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)
        with pytest.raises(errors.ReadTimeout):
            UapiSource(tmp_path, IMPATIENCE).read("wg0")


def test_busy_process_is_waited_for(tmp_path: Path) -> None:
    """While the backlog is full the reading waits, and it succeeds when there is a free place."""
    path = str(tmp_path / "wg0.sock")
    with (
        ThreadPoolExecutor(1) as threads,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as earlier,
    ):
        listener.bind(path)
        listener.listen(0)
        listener.settimeout(PATIENCE)
        earlier.connect(path)
        reading = threads.submit(UapiSource(tmp_path, PATIENCE).read, "wg0")
        time.sleep(IMPATIENCE)  # lets the reading find the backlog full
        listener.accept()[0].close()
        with listener.accept()[0] as connection:
            like_boringtun(WIREGUARD_GO)(connection, threading.Event())
        assert len(reading.result(PATIENCE).peers) == 3


def test_reply_in_pieces_is_read(tmp_path: Path) -> None:
    """A reply that arrives in pieces, cut within lines, keys and the blank line, is decoded correctly."""

    def pieces(connection: socket.socket, ending: threading.Event) -> None:
        request(connection)
        for start in range(0, len(WIREGUARD_GO) - 1, 7):
            connection.sendall(WIREGUARD_GO[start : min(start + 7, len(WIREGUARD_GO) - 1)])
        ending.wait(IMPATIENCE)  # lets the last newline arrive alone
        connection.sendall(WIREGUARD_GO[-1:])

    with UapiServer(tmp_path / "wg0.sock", pieces):
        assert len(UapiSource(tmp_path, PATIENCE).read("wg0").peers) == 3


@pytest.mark.parametrize("length", [0, 1, 100, len(WIREGUARD_GO) - 1])
def test_half_reply_is_an_error(tmp_path: Path, length: int) -> None:
    """A connection that closes before the blank line gives an error."""
    with (
        UapiServer(tmp_path / "wg0.sock", like_boringtun(WIREGUARD_GO[:length])),
        pytest.raises(errors.DumpTruncated, match=f"wg0: .* ended after {length} bytes"),
    ):
        UapiSource(tmp_path, PATIENCE).read("wg0")


def test_reply_without_end_is_refused(tmp_path: Path) -> None:
    """A reply that does not end is refused at the largest size."""

    def endless(connection: socket.socket, ending: threading.Event) -> None:
        request(connection)
        while not ending.is_set():
            connection.sendall(b"colour=red\n" * 1000)

    with (
        UapiServer(tmp_path / "wg0.sock", endless),
        pytest.raises(errors.DumpTruncated, match=r"wg0: .* longer than 1000000 bytes"),
    ):
        UapiSource(tmp_path, PATIENCE, max_reply=1_000_000).read("wg0")


def test_error_number_reaches_the_reader(tmp_path: Path) -> None:
    """The error number of a process is reported with its text."""
    reply = (UAPI / "wireguard-go-refused.txt").read_bytes()
    with (
        UapiServer(tmp_path / "wg0.sock", like_wireguard_go(reply)),
        pytest.raises(errors.ReadFailed, match="Invalid argument"),
    ):
        UapiSource(tmp_path, PATIENCE).read("wg0")
