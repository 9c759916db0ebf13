"""The native schema: what a snapshot says, family by family.

Labels `interface` and `public_key` on every per-peer series, and nothing that changes: descriptions stand on
`wireguard_peer_info`, to be joined. docs/metrics.md is the reference, and a test holds it to this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Protocol

from exporter.directory.entry import Directory
from exporter.liveness import SKEW_TOLERANCE, State, judge
from exporter.metrics.blocks import INFO, Block, Values, arrange
from exporter.metrics.text import head, labels
from exporter.model import Device, Link, Peer, Snapshot
from exporter.observe import Observed

Samples = list[tuple[Mapping[str, str], float]]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family: `kind` is counter, gauge or info (a gauge that is always 1)."""

    name: str
    kind: str
    help: str

    def head(self, *, openmetrics: bool) -> str:
        return head(self.name, self.kind, self.help, openmetrics=openmetrics)

    def text(self, samples: Samples, *, openmetrics: bool) -> str:
        """The whole family; nothing at all when it has no samples."""
        if not samples:
            return ""
        lines = [f"{self.name}{labels(pairs)} {number(value)}\n" for pairs, value in samples]
        return self.head(openmetrics=openmetrics) + "".join(lines)


def number(value: float) -> str:
    """Integers in full: a counter that loses its last digits looks like one that was reset."""
    return repr(int(value)) if value == int(value) else repr(float(value))


INTERFACE_INFO = Family("wireguard_interface_info", "info", "A WireGuard interface; always 1.")
INTERFACE_UP = Family(
    "wireguard_interface_up", "gauge", "Whether the link is administratively up (1) or not (0)."
)
LISTEN_PORT = Family(
    "wireguard_interface_listen_port", "gauge", "UDP port the interface listens on; 0 for none."
)
INTERFACE_PEERS = Family(
    "wireguard_interface_peers",
    "gauge",
    "Peers of the interface by state: never, active, idle, stale, one-way, clock-skew; unobserved when it "
    "could not be read.",
)

_LINK_COUNTERS: tuple[tuple[str, str, Callable[[Link], int]], ...] = (
    ("receive_bytes", "Bytes received on the link", lambda link: link.receive_bytes),
    ("transmit_bytes", "Bytes sent on the link", lambda link: link.transmit_bytes),
    ("receive_packets", "Packets received on the link", lambda link: link.receive_packets),
    ("transmit_packets", "Packets sent on the link", lambda link: link.transmit_packets),
    ("receive_errors", "Receive errors of the link", lambda link: link.receive_errors),
    ("transmit_errors", "Transmit errors of the link", lambda link: link.transmit_errors),
    ("receive_drops", "Received packets that the link dropped", lambda link: link.receive_drops),
    ("transmit_drops", "Packets to send that the link dropped", lambda link: link.transmit_drops),
)
LINK_FAMILIES = tuple(
    (Family(f"wireguard_interface_{name}_total", "counter", f"{text}, as `ip -s link` shows them."), value)
    for name, text, value in _LINK_COUNTERS
)
INTERFACE_FAMILIES = (
    INTERFACE_INFO,
    INTERFACE_UP,
    LISTEN_PORT,
    INTERFACE_PEERS,
    *(family for family, _ in LINK_FAMILIES),
)

HANDSHAKE_AGE = "wireguard_peer_handshake_age_seconds"
PEER_FAMILIES = (
    Family(INFO, "info", "Who a peer is and what is expected of it, from the directory; always 1."),
    Family(
        "wireguard_peer_receive_bytes_total",
        "counter",
        "Bytes received from the peer, handshakes and keepalives included.",
    ),
    Family(
        "wireguard_peer_transmit_bytes_total",
        "counter",
        "Bytes sent to the peer, handshakes and keepalives included.",
    ),
    Family(
        "wireguard_peer_last_handshake_timestamp_seconds",
        "gauge",
        "UNIX time of the peer's last handshake; 0 = never.",
    ),
    Family(
        HANDSHAKE_AGE,
        "gauge",
        "Seconds since the peer's last handshake, not below 0; absent when there was none.",
    ),
    Family(
        "wireguard_peer_stale_after_seconds",
        "gauge",
        "Age from which the handshake counts as stale: the directory's, or one that fits the keepalive.",
    ),
    Family(
        "wireguard_peer_persistent_keepalive_seconds",
        "gauge",
        "Interval of keepalives sent to the peer; 0 = off.",
    ),
    Family("wireguard_peer_allowed_ips", "gauge", "Number of prefixes routed to the peer."),
    Family(
        "wireguard_peer_handshakes_total",
        "counter",
        "Handshakes seen with the peer since the exporter started; several between two readings count once.",
    ),
    Family(
        "wireguard_peer_endpoint_changes_total",
        "counter",
        "Changes of the peer's endpoint seen since the exporter started.",
    ),
)
LIFETIME_FAMILIES = (
    Family(
        "wireguard_peer_lifetime_receive_bytes_total",
        "counter",
        "Bytes received from the peer through every restart of its counters, as of the last snapshot in the "
        "database.",
    ),
    Family(
        "wireguard_peer_lifetime_transmit_bytes_total",
        "counter",
        "Bytes sent to the peer through every restart of its counters, as of the last snapshot in the "
        "database.",
    ),
)


FIRST_SEEN = Family(
    "wireguard_peer_first_seen_timestamp_seconds",
    "gauge",
    "UNIX time at which the database first heard of the peer on this interface.",
)
UNKNOWN = Family(
    "wireguard_peer_unknown",
    "gauge",
    "Present, and 1, for a peer that no directory file lists, where one lists any.",
)
REROUTED = Family(
    "wireguard_peer_allowed_ips_changed_timestamp_seconds",
    "gauge",
    "UNIX time at which the allowed IPs of the peer were last seen to change; absent if never.",
)
SOME_PEERS_FAMILIES = (UNKNOWN, REROUTED)


class RecordedTotals(Protocol):
    """What is recorded of an interface's peers."""

    def get(self, public_key: str) -> Sequence[int] | None:
        """Received and sent through every restart, first of all; None = not known."""

    def first_seen(self, public_key: str) -> int | None:
        """UNIX seconds; None = not known."""


@dataclass(slots=True)
class DeviceText:
    """What is kept of a device between two scrapes."""

    peers: Sequence[Peer] = ()
    generation: int = -1  # of the directory
    blocks: list[Block] = field(default_factory=list)

    def update(self, device: Device, directory: Directory, generation: int) -> None:
        if generation == self.generation and device.peers == self.peers:
            return
        kept = self.blocks if generation == self.generation else []

        def build(peers: tuple[Peer, ...]) -> Block:
            return Block(device.label, peers, directory)

        self.blocks = arrange(kept, device.peers, build)
        self.peers, self.generation = device.peers, generation


@dataclass(slots=True)
class Gathered:
    """One device with its kept text and its columns, by family."""

    device: Device
    blocks: list[Block]
    columns: dict[str, Sequence[int | None]]

    def values(self, family: str) -> Iterator[tuple[Block, Values]]:
        """Each block with its slice of a family's column."""
        column = self.columns.get(family)
        at = 0
        for block in self.blocks:
            end = at + len(block.keys)
            yield block, block.fixed[family] if column is None else tuple(column[at:end])
            at = end


def gather(device: Device, blocks: list[Block], observed: Observed, now: float) -> Gathered:
    """The columns that change with every reading."""
    handshakes = device.last_handshake
    return Gathered(
        device,
        blocks,
        {
            "wireguard_peer_receive_bytes_total": device.receive_bytes,
            "wireguard_peer_transmit_bytes_total": device.transmit_bytes,
            "wireguard_peer_last_handshake_timestamp_seconds": handshakes,
            HANDSHAKE_AGE: ages(handshakes, int(now)),
            "wireguard_peer_handshakes_total": observed.handshakes,
            "wireguard_peer_endpoint_changes_total": observed.endpoint_changes,
        },
    )


def recorded(
    peers: Sequence[Peer], totals: RecordedTotals | None, *, lifetime: bool
) -> dict[str, Sequence[int | None]]:
    """The columns of the recorded totals, exactly as the database has them: they never decrease,
    even when the counters and the exporter restart together."""
    nobody = [None] * len(peers)
    keys = [peer.public_key for peer in peers]
    columns: dict[str, Sequence[int | None]] = {
        FIRST_SEEN.name: [totals.first_seen(key) for key in keys] if totals else nobody
    }
    if lifetime:
        found = [(totals.get(key) if totals else None) or (None, None) for key in keys]
        for side, family in enumerate(LIFETIME_FAMILIES):
            columns[family.name] = [total[side] for total in found]
    return columns


def some_peers_samples(gathered: Sequence[Gathered], observed: Mapping[str, Observed]) -> dict[str, Samples]:
    """The samples of families that few peers have."""

    def of(device: Device, public_key: str) -> dict[str, str]:
        return {"interface": device.label, "public_key": public_key}

    return {
        UNKNOWN.name: [
            (of(one.device, key), 1) for one in gathered for block in one.blocks for key in block.unknown
        ],
        REROUTED.name: [
            (of(one.device, key), round(at, 3))
            for one in gathered
            for key, at in observed[one.device.label].rerouted_at.items()
        ],
    }


def ages(handshakes: Sequence[int], now: int) -> Sequence[int | None]:
    """Seconds since each handshake; none is below 0."""
    if handshakes and min(handshakes) > 0 and max(handshakes) <= now:
        return [now - then for then in handshakes]
    return [max(now - then, 0) if then else None for then in handshakes]


LATE = 1  # a handshake longer ago than any window


def states(device: Device, blocks: list[Block], observed: Observed, now: float) -> Counter[State]:
    """How many peers are in which state; the same answer as `judge` for each, most of them in bulk."""
    counts: Counter[State] = Counter()
    handshakes = device.last_handshake
    at = 0
    for block in blocks:
        end = at + len(block.keys)
        part = handshakes[at:end]
        never = part.count(0)
        quiet = now - min(block.windows)
        if never == len(part):
            counts[State.NEVER] += never
        elif not never and min(part) >= quiet and max(part) <= now + SKEW_TOLERANCE:
            counts[State.ACTIVE] += len(part)
        else:
            ahead = sum(then > now + SKEW_TOLERANCE for then in part)
            late = [
                then != 0 and now - then > window for then, window in zip(part, block.windows, strict=True)
            ]
            present = {State.NEVER: never, State.CLOCK_SKEW: ahead}
            present[State.ACTIVE] = len(part) - never - ahead - sum(late)
            counts.update({state: number for state, number in present.items() if number})
            kinds = Counter(
                compress(zip(block.expected, observed.all_unanswered(at, end), strict=True), late)
            )
            for (expected, unanswered), number in kinds.items():
                counts[judge(LATE, now, 0, expected, unanswered=unanswered)] += number
        at = end
    return counts


def interface_samples(
    snapshot: Snapshot, counts: Mapping[str, Counter[State]], unread: Mapping[str, int], organisation: str
) -> dict[str, Samples]:
    """The samples of each interface family. `unread`: interfaces that failed, with their last known peers."""
    samples: dict[str, Samples] = {family.name: [] for family in INTERFACE_FAMILIES}
    for device in snapshot.devices:
        own = {"interface": device.label}
        info = {
            **own,
            "public_key": device.public_key,
            "gateway": snapshot.gateway,
            "organisation": organisation,
            "kind": device.kind,
        }
        samples[INTERFACE_INFO.name].append((info, 1))
        samples[LISTEN_PORT.name].append((own, device.listen_port))
        for state in State:
            if state is not State.UNOBSERVED:
                pair = {**own, "state": state.value}, counts[device.label][state]
                samples[INTERFACE_PEERS.name].append(pair)
        if device.link:
            samples[INTERFACE_UP.name].append((own, int(device.link.up)))
            for family, value in LINK_FAMILIES:
                samples[family.name].append((own, value(device.link)))
    for label, peers in unread.items():
        pair = {"interface": label, "state": State.UNOBSERVED.value}, peers
        samples[INTERFACE_PEERS.name].append(pair)
    return samples
