"""`argus-wg show`: its output, order, filters and exit codes, with interfaces on real UAPI sockets."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from exporter import cli, config
from exporter.liveness import State
from exporter.show.peers import Watcher
from tests.kit.servers.uapiserver import UapiServer, base64_key, like_wireguard_go, request
from tests.kit.show import KEYS, peer_lines, reply, stale_socket

LONG_AGO = 1_600_000_000  # UNIX seconds
DEADLINE = 30.0  # seconds that a program in a terminal gets, so that a broken one cannot hang the tests


@contextmanager
def replies(path: Path, *texts: bytes) -> Iterator[None]:
    """An interface that replies with each text in turn, and then repeats the last."""
    left = list(texts)

    def dialogue(connection: socket.socket, _: threading.Event) -> None:
        while request(connection) == b"get=1\n\n":
            connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    with UapiServer(path, dialogue):
        yield


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    """A configuration that reads sockets beside the file, and a directory with one peer."""
    file = tmp_path / "argus-wg.yml"
    file.write_text(
        f"gateway: gw1\nsources: {{netlink: false, uapi_directory: {tmp_path}}}\n"
        "directory: {files: [directory.yml], wg_quick: []}\n"
    )
    names = {"peers": {base64_key(KEYS[0]): {"name": "branch-7", "site": "berlin", "expected": "always-on"}}}
    (tmp_path / "directory.yml").write_text(json.dumps(names))
    return file


@pytest.fixture
def wg0(gateway: Path) -> Iterator[Path]:
    """The configuration of a gateway with one interface; its peers are stale, never seen, and idle."""
    text = reply(
        peer_lines(KEYS[0], LONG_AGO, 2048, 10),
        peer_lines(KEYS[1]),
        peer_lines(KEYS[2], LONG_AGO + 100, 5, 4096),
    )
    with UapiServer(gateway.with_name("wg0.sock"), like_wireguard_go(text)):
        yield gateway


def show(*words: str) -> int:
    return cli.main(["show", *words])


def test_one_plain_table_without_a_terminal(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal the table is plain text, worst state first, with names and sites."""
    assert show("-c", str(wg0)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "3 peers: 1 stale, 1 never, 1 idle"
    assert lines[3].split() == [
        "state", "peer", "interface", "handshake", "rx", "tx", "endpoint", "IPs", "expected", "site"
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[4:]] == ["stale", "never", "idle"]
    assert re.search(r"branch-7 +wg0 .* 2\.0 KiB +10 B .* always-on +berlin$", lines[4])
    assert "\x1b" not in "".join(lines)


def test_json_has_every_key_and_no_rates(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document has every documented key; a single reading has no rates."""
    assert show("--json", "-c", str(wg0)) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == [
        "gateway", "taken_at", "states", "interfaces", "unreadable", "directory_error", "peers"
    ]  # fmt: skip
    assert document["states"] == {state.value: 0 for state in State} | {"stale": 1, "never": 1, "idle": 1}
    assert document["interfaces"] == [
        {
            "interface": "wg0",
            "kind": "userspace",
            "public_key": "",
            "listen_port": 51820,
            "up": None,
            "peers": 3,
        }
    ]
    first = document["peers"][0]
    age = first.pop("handshake_age")
    assert age == round(document["taken_at"] - LONG_AGO, 3)
    assert first == {
        "interface": "wg0",
        "public_key": base64_key(KEYS[0]),
        "name": "branch-7",
        "site": "berlin",
        "role": "",
        "owner": "",
        "criticality": "normal",
        "expected": "always-on",
        "state": "stale",
        "last_handshake": LONG_AGO,
        "stale_after": 300,
        "receive_bytes": 2048,
        "transmit_bytes": 10,
        "receive_rate": None,
        "transmit_rate": None,
        "endpoint": "",
        "allowed_ips": ["10.0.0.1/32"],
        "persistent_keepalive": 0,
        "has_preshared_key": False,
    }


def test_an_interval_gives_rates(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an interval two readings are made, and rates are the differences between them; a counter that was
    reset has no rate."""
    before = reply(peer_lines(KEYS[0], LONG_AGO, received=1000, sent=9000))
    after = reply(peer_lines(KEYS[0], LONG_AGO, received=51_000, sent=10))
    with replies(gateway.with_name("wg0.sock"), before, after):
        assert show("--json", "--interval", "100ms", "-c", str(gateway)) == 0
    (peer,) = json.loads(capsys.readouterr().out)["peers"]
    assert 0 < peer["receive_rate"] <= 50_000 / 0.1
    assert peer["transmit_rate"] is None


def test_states_filter_and_repeat(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--state` selects peers in that state and may be repeated; the counts are still of all peers."""
    assert show("--json", "--state", "idle", "--state", "stale", "-c", str(wg0)) == 0
    document = json.loads(capsys.readouterr().out)
    assert [peer["state"] for peer in document["peers"]] == ["stale", "idle"]
    assert document["states"]["never"] == 1


def test_an_unknown_interface_is_wrong_usage(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name gives exit code 2 and the list of existing interfaces, also unreadable ones."""
    stale_socket(wg0.with_name("wg9.sock"))
    assert show("wg7", "-c", str(wg0)) == 2
    captured = capsys.readouterr()
    assert captured.err == "argus-wg show: no WireGuard interface wg7; existing interfaces: wg0, wg9\n"
    assert not captured.out


def test_a_named_interface_is_shown_alone(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a name only that interface is read, also one that the configuration excludes."""
    wg0.write_text(wg0.read_text() + "interfaces: {exclude: [wg0]}\n")
    stale_socket(wg0.with_name("wg9.sock"))
    assert show("wg0", "--json", "-c", str(wg0)) == 0
    document = json.loads(capsys.readouterr().out)
    assert [found["interface"] for found in document["interfaces"]] == ["wg0"]
    assert document["unreadable"] == []


def test_nothing_readable_is_a_failure_with_its_reason(
    gateway: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When nothing can be read, the exit code is 1 and the remedy is printed; the stale socket is kept."""
    path = gateway.with_name("wg9.sock")
    stale_socket(path)
    assert show("-c", str(gateway)) == 1
    error = capsys.readouterr().err
    assert "wg9 (uapi) cannot be read (stale-socket): nothing listens on" in error
    assert f"rm {path}" in error
    assert path.is_socket()


def test_a_partial_answer_shows_both(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unreadable interface is named above the peers of the others, and the exit code is 0."""
    stale_socket(wg0.with_name("wg9.sock"))
    assert show("-c", str(wg0)) == 0
    output = capsys.readouterr().out
    assert "wg9 (uapi) cannot be read (stale-socket)" in output
    assert "branch-7" in output


def test_no_interface_is_no_failure(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host without interfaces is not a failure."""
    assert show("-c", str(gateway)) == 0
    assert "no WireGuard interface\n0 peers\n" in capsys.readouterr().out


def test_a_broken_directory_costs_only_the_names(wg0: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a wrong directory file, peers are shown by their keys, and the error is printed."""
    wg0.with_name("directory.yml").write_text("peers: 5\n")
    assert show("-c", str(wg0)) == 0
    output = capsys.readouterr().out
    assert re.search(r"^directory: .*directory\.yml:1: peers: ", output, re.MULTILINE)
    assert f"{base64_key(KEYS[0])[:8]}…" in output


@pytest.mark.parametrize(
    "words", [["--interval", "5y"], ["--interval", "0s"], ["--state", "asleep"], ["--sort", "x"]]
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong value of an option gives exit code 2 and is named."""
    with pytest.raises(SystemExit) as ended:
        show(*words)
    assert ended.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_unanswered_bytes_make_a_peer_one_way_until_it_answers(gateway: Path) -> None:
    """A peer that does not answer stays one-way between two handshake attempts, until it answers."""
    texts = [
        reply(peer_lines(KEYS[0], LONG_AGO, received, sent))
        for received, sent in [(0, 0), (0, 148), (0, 148), (32, 148)]
    ]
    with replies(gateway.with_name("wg0.sock"), *texts):
        watcher = Watcher(config.load(gateway))
        states = [watcher.look().rows[0].state for _ in texts]
    assert states == [State.STALE, State.ONE_WAY, State.ONE_WAY, State.STALE]


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_any_encoding_will_do(wg0: Path, option: str) -> None:
    """A terminal without Unicode gets escapes and no error; JSON stays valid."""
    names = {"peers": {base64_key(KEYS[0]): {"name": "Zürich 名"}}}
    wg0.with_name("directory.yml").write_text(json.dumps(names))
    command = [sys.executable, "-m", "exporter.cli", "show", option, "-c", str(wg0)]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    output = subprocess.run(
        command, env=environment, check=True, capture_output=True, timeout=DEADLINE
    ).stdout
    assert b"Z\\xfcrich" in output or "Zürich 名" in {peer["name"] for peer in json.loads(output)["peers"]}


class Terminal:
    """`argus-wg show` on its own terminal."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.seen = ""
        self._side, child = pty.openpty()
        ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exporter.cli", "show", *words],
            stdin=child,
            stdout=child,
            stderr=child,
            env={**keep, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment},
            start_new_session=True,
        )
        os.close(child)

    def await_text(self, done: Callable[[str], bool]) -> None:
        """Reads the terminal until the condition holds, or until the program ends."""
        until = time.monotonic() + DEADLINE
        while not done(self.seen):
            ready, _, _ = select.select([self._side], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"nothing more came after {self.seen!r}"
            try:
                self.seen += os.read(self._side, 65536).decode(errors="replace")
            except OSError:  # EIO: the program has closed the terminal
                return

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.await_text(lambda _: False)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: str, **environment: str) -> Terminal:
        opened.append(Terminal(list(words), environment))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


COLOUR = re.compile("\x1b\\[[0-9;]*3[0-7]m")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_live_table_leaves_the_terminal_as_it_was(
    wg0: Path, terminal: Callable[..., Terminal], number: signal.Signals, code: int
) -> None:
    """On a terminal the table is live, in colour, on the alternate screen; a signal restores the screen."""
    live = terminal("-c", str(wg0), "--interval", "100ms")
    live.await_text(lambda seen: seen.count("branch-7") >= 2 and "Ctrl-C to quit" in seen)
    assert "\x1b[?1049h" in live.seen
    assert COLOUR.search(live.seen)
    assert live.end(number) == code
    assert live.seen.rfind("\x1b[?1049l") > live.seen.rfind("\x1b[?1049h")
    assert "Traceback" not in live.seen


def test_no_color(wg0: Path, terminal: Callable[..., Terminal]) -> None:
    """With NO_COLOR the state is printed as a word without colour."""
    once = terminal("-c", str(wg0), "--once", NO_COLOR="1")
    once.await_text(lambda _: False)
    assert once.process.wait(DEADLINE) == 0
    assert "stale" in once.seen
    assert not COLOUR.search(once.seen)
