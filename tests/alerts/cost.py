"""What the rules cost in a real Prometheus with two weeks of history.

    python -m tests.alerts.cost alerts/rules 500

writes counters of 500 peers into a database of Prometheus, starts Prometheus with the rules of the folder,
and prints the time of an evaluation of each group, for 10,000 peers: the cost is proportional to the number
of peers. All groups are evaluated every 30 seconds here, so that each is measured.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

MANY = 10_000  # peers for which the cost is printed
DAY = 86400
DAYS = 14
RAW = 30  # seconds between samples of a counter, in the last day
SLOW = 300  # seconds between samples of recorded series
PORT = 19091


def main() -> None:
    """Print the milliseconds of each group."""
    folder, peers = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _write_history(work, peers)
        _write_rules(folder, work)
        for group, seconds, slowest in _measured(work):
            sys.stdout.write(f"{group:40} {seconds * MANY / peers:8.2f} s   {slowest}\n")


def _write_history(work: Path, peers: int) -> None:
    text = work / "history.txt"
    now = int(time.time()) // RAW * RAW
    with text.open("w") as file:
        for lines in _families(now, peers):
            file.writelines(lines)
        file.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=24h"]
    subprocess.run([*command, text, work / "data"], check=True, stdout=subprocess.DEVNULL)
    text.unlink()


def _families(now: int, peers: int) -> Iterator[Iterator[str]]:
    """Lines in the order of their times within a family."""
    gateway = 'job="wireguard",instance="gw1:9586"'
    keys = [f'{gateway},interface="wg0",public_key="K{number:043}"' for number in range(peers)]
    names = [
        f'{key},peer="peer{n}",site="site{n // 4}",role="",owner="",expected="always-on",criticality="normal"'
        for n, key in enumerate(keys)
    ]
    recent = range(now - 3600, now + 1, RAW)
    day = range(now - DAY, now + 1, RAW)
    weeks = range(now - DAYS * DAY, now + 1, SLOW)

    def lines(name: str, labels: list[str], times: range, start: float, rate: float = 0) -> Iterator[str]:
        for at in times:
            for one in labels:
                yield f"{name}{{{one}}} {start + rate * (at - now):.0f} {at}\n"

    yield lines("up", [gateway], recent, 1)
    yield lines("wireguard_exporter_interfaces", [gateway], recent, 1)
    yield lines(
        "wireguard_interface_info", [f'{gateway},interface="wg0",public_key="G",gateway="gw1"'], recent, 1
    )
    yield lines("wireguard_peer_info", names, recent, 1)
    yield lines("wireguard_peer_stale_after_seconds", keys, recent, 300)
    yield lines("wireguard_peer_handshake_age_seconds", keys, recent, 60)
    yield lines("wireguard_peer_last_handshake_timestamp_seconds", keys, recent, now - 60, 1)
    for direction in ("receive", "transmit"):
        yield lines(f"wireguard_peer_{direction}_bytes_total", keys, day, 1e12, 600)
    both = [f'{key},direction="{direction}"' for key in keys for direction in ("receive", "transmit")]
    yield lines("peer_direction:wireguard_bytes:total", both, range(now - DAY, now + 1, SLOW), 1e12, 600)
    yield lines("peer_direction:wireguard_bytes:increase1d", both, weeks, 6e7, 10)
    yield lines(
        "peer_direction:wireguard_bytes_baseline:max", both, range(now - 6 * 3600, now + 1, SLOW), 8e7
    )
    yield lines("peer:wireguard_receive_bytes:rate1h", keys, range(now - 8 * DAY, now + 1, SLOW), 600, 0.001)


def _write_rules(folder: Path, work: Path) -> None:
    for file in folder.glob("*.yml"):
        text = re.sub(r"^(    interval:) \w+$", r"\1 30s", file.read_text(), flags=re.M)
        (work / file.name).write_text(text)
    config = f"global: {{evaluation_interval: 30s}}\nrule_files: [{work}/*.yml]\n"
    (work / "prometheus.yaml").write_text(config)


def _measured(work: Path) -> list[tuple[str, float, str]]:
    """(group, seconds of its last evaluation, its slowest rule)."""
    command = [
        "prometheus",
        f"--config.file={work}/prometheus.yaml",
        f"--storage.tsdb.path={work}/data",
        "--storage.tsdb.retention.time=30d",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]
    with (work / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            return _wait(process, log)
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], log: TextIO) -> list[tuple[str, float, str]]:
    deadline = time.monotonic() + 170  # the last samples are too old after 3 minutes
    seen: set[str] = set()
    while time.monotonic() < deadline:
        assert process.poll() is None, Path(log.name).read_text()
        time.sleep(5)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/v1/rules", timeout=60) as answer:
                groups: list[dict[str, Any]] = json.load(answer)["data"]["groups"]
        except OSError:
            continue
        evaluated = {group["lastEvaluation"] for group in groups}
        seen |= evaluated
        if len(seen) >= 2 * len(groups) > 0:  # the second evaluation: the first reads cold files
            return [(group["name"], group["evaluationTime"], _rules(group)) for group in groups]
    raise TimeoutError(Path(log.name).read_text())


def _rules(group: dict[str, Any]) -> str:
    """The rules that take most of the time, with their shares."""
    times = sorted(((rule["evaluationTime"], rule["name"]) for rule in group["rules"]), reverse=True)
    total = sum(seconds for seconds, _ in times)
    return ", ".join(f"{seconds / total:.0%} {name}" for seconds, name in times[:8] if seconds > total / 50)


if __name__ == "__main__":
    main()
