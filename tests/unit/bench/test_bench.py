"""The benchmark of scrapes: its replayed dumps, its contenders, its limits and its report."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import __main__ as command
from bench import figures, report, run, stages, verdicts, wireguard
from bench.contest import after, interleave
from bench.figures import Figures, Result
from exporter.model import Device
from exporter.sources.netlink import KernelSource
from exporter.sources.nlsocket import NetlinkSocket
from tests.kit.paths import PROJECT
from tests.kit.replay import FAMILY, INTERVAL, RENEWAL, Replay

PAGE = PROJECT / "docs" / "performance.md"


@contextmanager
def answering(replay: Replay) -> Iterator[socket.socket]:
    """A socket on which the replay answers one netlink request."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        thread = threading.Thread(target=lambda: replay.answer(theirs, theirs.recv(1024)))
        thread.start()
        yield ours
        thread.join()


def read(replay: Replay) -> Device:
    """The device, read from a replay by the exporter's own source."""
    with answering(replay) as sock:
        source = KernelSource(opener=lambda timeout: NetlinkSocket(0, timeout, sock), family=lambda: FAMILY)
        return source.read(7)[0]


def test_a_replay_is_read_like_a_kernel() -> None:
    """The exporter decodes a replay of several messages: every peer has its allowed IPs, endpoint and
    counters."""
    device = read(Replay(300))
    assert (device.name, len(device.peers), len({peer.public_key for peer in device.peers})) == (
        "wg0",
        300,
        300,
    )
    assert device.peers[299].allowed_ips == ("10.0.1.43/32", "fd00::12c/128")
    assert device.peers[299].endpoint == "198.18.1.43:51820"
    assert {peer.persistent_keepalive for peer in device.peers} == {25}
    counters = [*device.transmit_bytes, *device.receive_bytes]
    assert {len(str(counter)) for counter in counters} <= {10, 11}


def test_an_interval_changes_the_busy_peers() -> None:
    """After an interval all counters of busy peers have grown, an eighth of their handshakes are new and some
    endpoints have changed; the other peers are unchanged."""
    replay = Replay(1000, busy=0.4)
    before = read(replay)
    replay.advance()
    later = read(replay)
    busy = set(replay.busy)
    grown = {i for i in range(1000) if later.receive_bytes[i] > before.receive_bytes[i]}
    assert grown == busy == {i for i in range(1000) if later.transmit_bytes[i] > before.transmit_bytes[i]}
    renewed = {i for i in range(1000) if later.last_handshake[i] != before.last_handshake[i]}
    assert renewed == {i for i in busy if (i + 1) % RENEWAL == 0}
    assert {later.last_handshake[i] for i in renewed} == {replay.now}
    assert all(replay.now - later.last_handshake[i] <= RENEWAL * INTERVAL for i in busy)
    moved = {i for i in range(1000) if later.peers[i] != before.peers[i]}
    assert len(moved) == 4
    assert moved <= busy


def test_contenders_take_turns() -> None:
    """Each contender is prepared and runs once per round, in the same order."""
    turns: list[str] = []

    def contender(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    prepared = after(lambda: turns.append("prepare"), lambda: contender("b"))
    times = interleave({"a": lambda: contender("a"), "b": prepared}, 2)
    assert turns == ["a", "prepare", "b"] * 2
    assert times == {"a": [1, 4], "b": [3, 6]}


def test_a_sample_of_the_calls_is_timed() -> None:
    """Every call is counted, every n-th call is timed, and the original function is restored afterwards."""
    original = stages.clock_seconds
    with stages.clocked(stages, "clock_seconds", every=4) as clock:
        for _ in range(9):
            stages.clock_seconds()
    assert stages.clock_seconds is original
    assert (clock.calls, clock.timed) == (9, 3)
    assert clock.seconds(0) == pytest.approx(3 * clock.spent)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The result of a run with 50 replayed peers."""
    program = [sys.executable, "-m", "bench.measure", "50", "2", "1.0"]
    done = subprocess.run(program, stdout=subprocess.PIPE, check=True, timeout=60)
    one = Figures(**json.loads(done.stdout))
    return Result(figures.host(), "python -m bench", 2, "none was asked for", (one,))


def test_a_small_run_measures_every_part(result: Result) -> None:
    """Every contender and stage has two positive times; a plain page is larger than a compressed one."""
    (one,) = result.figures
    assert set(one.times) == {"raw", "fresh", "kept", "identity", "sending", "stages"}
    turns = {name: len(times) for name, times in one.times.items()}
    assert turns == dict.fromkeys(one.times, 2) | {"identity": 1}
    assert all(seconds > 0 for times in one.times.values() for seconds in times)
    assert set(one.stages) == set(stages.STAGES)
    assert all(one.stage(name) > 0 for name in ("read", "observe", "gather", "render", "compress"))
    assert one.processor > 0
    assert one.sizes["identity"] > one.sizes["gzip"] > 0
    assert one.sizes["raw"] > 50 * 200
    assert one.peak["identity"] >= one.peak["gzip"] > 10_000_000
    assert all(seconds > 0 for answers in one.healthy.values() for seconds in answers)


def test_a_result_survives_json(result: Result) -> None:
    """The JSON that `--json` prints is read back as the same result."""
    assert Result.from_json(json.loads(json.dumps(dataclasses.asdict(result)))).figures == result.figures


def test_the_report_has_every_measurement(result: Result) -> None:
    """Each measured contender and each stage has a line, and the report says why no kernel was measured."""
    text = report.report(result)
    assert "**No WireGuard kernel took part: none was asked for.**" in text
    for label in [*report.STAGES.values(), *(report.TIMES[name] for name in ("raw", "fresh", "identity"))]:
        assert f"| {label} |" in text
    assert report.TIMES["wg"] not in text


def made(peers: int, busy: float | None, raw: float, scrape: float, processor: float) -> Figures:
    """Figures with these medians; the other measurements meet every limit."""
    times = {"raw": [raw], "wg": [10 * raw], "fresh": [scrape], "kept": [scrape]}
    healthy = {"gzip": [0.001, 0.02], "identity": [0.3]}
    peak = {"gzip": 100_000_000, "identity": 120_000_000}
    return Figures(peers, busy, times, {}, processor, peak, {}, healthy)


def test_measurements_are_compared_with_the_limits() -> None:
    """A measurement beyond its limit is reported as such, and no other is."""
    found = verdicts.verdicts(
        [
            made(1000, None, 0.001, 0.009, 0.01),
            made(10_000, None, 0.01, 0.03, 0.09),
            made(100_000, None, 0.1, 0.41, 1.3),
            made(100_000, 1.0, 0.05, 0.3, 1),
        ]
    )
    reached = {one.subject: (one.reached, one.kept) for one in found}
    assert reached == {
        "10,000 peers, kernel, idle: scrape (new connection) ÷ raw dump": ("3.00", True),
        "10,000 peers, kernel, idle: scrape (kept connection) ÷ raw dump": ("3.00", True),
        "10,000 peers, kernel, idle: scrape ÷ `wg show dump`": ("0.30", True),
        "10,000 peers, kernel, idle: peak memory, compressed pages": ("100 MB", True),
        "10,000 peers, kernel, idle: peak memory, also with plain pages": ("120 MB", False),
        "100,000 peers, kernel, idle: scrape (new connection) ÷ raw dump": ("4.10", False),
        "100,000 peers, kernel, idle: scrape (kept connection) ÷ raw dump": ("4.10", False),
        "100,000 peers, kernel, idle: scrape ÷ `wg show dump`": ("0.41", True),
        "100,000 peers, kernel, idle: peak memory, compressed pages": ("100 MB", True),
        "100,000 peers, kernel, idle: peak memory, also with plain pages": ("120 MB", True),
        "100,000 peers, kernel, idle: longest wait for `/-/healthy`, compressed page": ("20 ms", True),
        "100,000 peers, kernel, idle: longest wait for `/-/healthy`, plain page": ("300 ms", False),
        "100,000 peers, replay, 100% change: scrape ÷ raw replay": ("6.00", False),
        "100,000 peers, replay, 100% change: the same with the kernel's time to make the dump (calculated)": (
            "3.50",
            True,
        ),
        "100,000 peers, replay, 100% change: peak memory, compressed pages": ("100 MB", True),
        "100,000 peers, replay, 100% change: peak memory, also with plain pages": ("120 MB", True),
        "100,000 peers, replay, 100% change: longest wait for `/-/healthy`, compressed page": ("20 ms", True),
        "100,000 peers, replay, 100% change: longest wait for `/-/healthy`, plain page": ("300 ms", False),
        "kernel, idle: processor time per peer, 100,000 ÷ 1,000 peers": ("1.30", False),
    }


def test_without_a_kernel_the_replays_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a host where no WireGuard interface can be created, the command prints the reason, measures replays
    and exits with 0."""
    asked: list[float | None] = []

    def measured(peers: int, rounds: int, busy: float | None) -> Figures:
        asked.append(busy)
        return dataclasses.replace(
            made(peers, busy, 0.01, 0.03, 0.09), stages={key: [1.0] for key in stages.STAGES}
        )

    monkeypatch.setattr(wireguard, "missing", lambda: "it is only a test")
    monkeypatch.setattr(run, "measured", measured)
    assert command.main(["--only", "scrapes", "--peers", "50", "--rounds", "1"]) == 0
    output = capsys.readouterr()
    assert asked == list(run.BUSY)
    assert "it is only a test" in output.err
    assert "**No WireGuard kernel took part: it is only a test.**" in output.out


def test_wg_accepts_the_generated_configuration() -> None:
    """Each generated peer has its own key, two allowed IPs, an endpoint and a keepalive."""
    lines = "".join(wireguard.configuration(70_000)).splitlines()
    assert len({line for line in lines if line.startswith("PublicKey")}) == 70_000
    assert len({line for line in lines if line.startswith("AllowedIPs")}) == 70_000
    assert lines[-3:] == [
        "AllowedIPs = 10.1.17.111/32, fd00::1:116f/128",
        "Endpoint = 198.19.17.111:51820",
        "PersistentKeepalive = 25",
    ]


def test_the_report_goes_between_the_lines_of_the_page() -> None:
    """The report replaces the marked part of docs/performance.md; the text around it does not change."""
    page = PAGE.read_text()
    written = report.put_into(page, "figures\n")
    assert written.startswith(page.partition(report.BEGIN)[0])
    assert written.endswith(page.partition(report.END)[2])
    assert report.put_into(written, "figures\n") == written
    with pytest.raises(ValueError, match="has no lines"):
        report.put_into("a page without them", "figures\n")
