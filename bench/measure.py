"""One part of the benchmark at one number of peers, in a process of its own; prints the figures.

    python -m bench.measure PEERS ROUNDS [BUSY]

Without BUSY it measures an interface of the kernel, which it makes in the network namespace that it runs in:
`unshare --net` should have made that one. With BUSY, a replayed dump of which this share changes each time.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack

from bench import figures, raw, replayed, wireguard
from bench.client import Client, polling_health
from bench.contest import Contender, after, interleave
from bench.figures import Figures
from bench.process import Process, daemon
from bench.raw import RawDump
from bench.sending import sending
from bench.stages import Stages
from tests.kit.replay import FAMILY

COUNTED = b"\nwireguard_peer_receive_bytes_total{"


def of_kernel(peers: int, rounds: int) -> Figures:
    """The kernel's own dump of an interface that is down: a gateway on which nothing changes."""
    wireguard.make(peers)
    with daemon() as process:
        others = {figures.WG: wireguard.show_dump}
        return measure(Subject(peers, None, process, raw.of_kernel(wireguard.INTERFACE)), rounds, others)


def of_replay(peers: int, rounds: int, busy: float) -> Figures:
    """A replayed dump. The daemon and the stages each have a replay of their own: what a reader sees as
    changed must be one interval's worth, however many contenders there are."""
    with ExitStack() as stack:
        path, advance = stack.enter_context(replayed.replaying(peers, busy))
        own_path, own_advance = stack.enter_context(replayed.replaying(peers, busy))
        replayed.install(own_path)
        process = stack.enter_context(daemon(path, program=("-m", "bench.replayed")))
        dump = RawDump(lambda: replayed.connect(path), raw.request(FAMILY, replayed.INDEX))
        return measure(Subject(peers, busy, process, dump, advance, own_advance), rounds, {})


def nothing() -> None:
    """What passes between two readings of a gateway on which nothing happens."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What is measured. `advance` lets an interval pass for the daemon, `own_advance` for this process."""

    peers: int
    busy: float | None
    process: Process
    raw: RawDump
    advance: Callable[[], None] = nothing
    own_advance: Callable[[], None] = nothing


def measure(subject: Subject, rounds: int, others: dict[str, Contender]) -> Figures:
    """Compressed scrapes among all contenders, then scrapes with `/-/healthy` watched, then plain ones."""
    process, advance = subject.process, subject.advance
    fresh, kept = Client(process.port), Client(process.port, keep=True)
    plain = Client(process.port, "identity")
    size = check(fresh.body(), subject.peers)
    kept.fetch()
    few = rounds // 3 + 1

    stages = Stages()
    with sending(lambda: stages.page) as sender:
        contenders: dict[str, Contender] = {
            figures.RAW: subject.raw,
            **others,
            figures.FRESH: after(advance, fresh.fetch),
            figures.KEPT: after(advance, kept.fetch),
            figures.STAGES: after(subject.own_advance, stages),
            figures.SENDING: sender.fetch,
        }
        used = process.processor_seconds()
        times = interleave(contenders, rounds)
        processor = (process.processor_seconds() - used) / (2 * rounds)
    sizes = {"raw": subject.raw.bytes, "gzip": fresh.size, "identity": size}

    healthy, peak = {}, {}
    for name, client in (("gzip", fresh), ("identity", plain)):
        with polling_health(process.port) as polls:
            interleave({name: after(advance, client.fetch)}, few)
        healthy[name] = polls.seconds
        if client is plain:
            times |= interleave({figures.IDENTITY: after(advance, plain.fetch)}, few)
        peak[name] = process.peak_bytes()
    kept.close()
    return Figures(subject.peers, subject.busy, times, stages.times, processor, peak, sizes, healthy)


def check(body: bytes, peers: int) -> int:
    """The size of the page in a compressed body. Raises when it does not tell of every peer."""
    page = gzip.decompress(body)
    if page.count(COUNTED) != peers:
        raise RuntimeError(f"the page tells of {page.count(COUNTED)} peers instead of {peers}")
    return len(page)


def main(words: list[str]) -> None:
    peers, rounds = int(words[0]), int(words[1])
    taken = of_replay(peers, rounds, float(words[2])) if len(words) > 2 else of_kernel(peers, rounds)
    json.dump(dataclasses.asdict(taken), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
