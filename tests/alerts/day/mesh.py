"""Gateways and peers of the simulated mesh, what happens to them, and the series that Prometheus scrapes.

All times are seconds from the start of the simulation. A scrape takes place every 30 seconds.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tests.alerts.day.series import STALE, STEP, Series

DAY = 86400
STEPS = DAY // STEP
JOB = "wireguard"
MEGABYTE = 2**20
Span = tuple[float, float]
Values = list[float | None]


def inside(spans: list[Span], time: float) -> bool:
    return any(start <= time < end for start, end in spans)


@dataclass
class Tunnel:
    """A peer on an interface of a gateway."""

    gateway: str
    interface: str
    key: str
    peer: str
    site: str = ""
    owner: str = ""
    expected: str = "always-on"
    criticality: str = "normal"
    window: int = 300
    daily: float = 50.0  # megabytes in each direction
    busiest: float | None = 80.0  # megabytes on its busiest day; None: known for less than a week
    server_keepalive: bool = False  # the gateway sends while the peer is away
    handshake_every: Span = (120, 145)
    down: list[Span] = field(default_factory=list)
    renamed: tuple[float, str] | None = None  # when, and the new name
    removed_at: float = float("inf")
    bursts: list[tuple[Span, str, float]] = field(default_factory=list)  # when, direction, megabytes
    rerouted_at: float | None = None
    unknown: Span | None = None
    alternates: Span | None = None  # two hosts use the key
    moves_every: float | None = None  # a train: seconds between two new addresses


@dataclass
class Interface:
    name: str
    key: str
    set_down: list[Span] = field(default_factory=list)
    gone: list[Span] = field(default_factory=list)
    unreadable: list[Span] = field(default_factory=list)
    flapping: list[Span] = field(default_factory=list)  # one reading in six fails


@dataclass
class Gateway:
    name: str
    interfaces: list[Interface]
    host_down: list[Span] = field(default_factory=list)  # a reboot: the kernel forgets its handshakes
    exporter_down: list[Span] = field(default_factory=list)
    uplink_down: list[Span] = field(default_factory=list)
    clock: list[tuple[float, float]] = field(default_factory=list)  # from when the clock is off by how much
    database_down: list[Span] = field(default_factory=list)
    schema_wrong: list[Span] = field(default_factory=list)
    file_refused: list[Span] = field(default_factory=list)
    labelled_at: float = float("inf")  # a label is added to the target
    removed_at: float = float("inf")  # the target is removed
    spool_full: list[Span] = field(default_factory=list)

    @property
    def instance(self) -> str:
        return f"{self.name}:9586"

    def offset(self, time: float) -> float:
        return sum(by for start, by in self.clock if time >= start)


@dataclass
class Mesh:
    gateways: list[Gateway]
    tunnels: list[Tunnel]
    unscraped: list[Span] = field(default_factory=list)  # the network of Prometheus is down
    stopped: list[Span] = field(default_factory=list)  # Prometheus itself is restarted
    seed: int = 1

    def gateway(self, name: str) -> Gateway:
        return next(gateway for gateway in self.gateways if gateway.name == name)

    def series(self) -> Iterator[Series]:
        """All series that Prometheus has after the day."""
        for gateway in self.gateways:
            yield from Page(self, gateway).series()


class Page:
    """What the exporter of one gateway answers during the day."""

    def __init__(self, mesh: Mesh, gateway: Gateway) -> None:
        self.mesh = mesh
        self.gateway = gateway
        self.random = random.Random(f"{mesh.seed} {gateway.name}")

    def series(self) -> Iterator[Series]:
        down = self.gateway.host_down + self.gateway.exporter_down + self.mesh.unscraped
        yield from self._emit("up", {}, lambda time: 0.0 if inside(down, time) else 1.0, always=True)
        yield from self._of_exporter()
        for interface in self.gateway.interfaces:
            yield from self._of_interface(interface)
        for tunnel in self.mesh.tunnels:
            if tunnel.gateway == self.gateway.name:
                yield from self._of_tunnel(tunnel)

    def _emit(
        self, name: str, labels: dict[str, str], at: Callable[[float], float | None], *, always: bool = False
    ) -> Iterator[Series]:
        """The series as scraped: without samples while the exporter does not answer, with stale markers."""
        values: Values = []
        for step in range(STEPS + 1):
            time = step * STEP
            if inside(self.mesh.stopped, time):
                values.append(None)
            elif time >= self.gateway.removed_at or (not always and not self._answers[step]):
                values.append(STALE)
            else:
                value = at(time)
                values.append(STALE if value is None else value)
        own = {"job": JOB, "instance": self.gateway.instance, **labels}
        cut = self.gateway.labelled_at / STEP
        if cut > STEPS:
            yield from _without_leading_markers(Series(name, own, values))
            return
        at_step = int(cut)
        yield from _without_leading_markers(Series(name, own, [*values[:at_step], STALE]))
        yield from _without_leading_markers(
            Series(name, {**own, "region": "north"}, [None] * at_step + values[at_step:])
        )

    @cached_property
    def _answers(self) -> list[bool]:
        down = self.gateway.host_down + self.gateway.exporter_down + self.mesh.unscraped
        return [not inside(down, step * STEP) for step in range(STEPS + 1)]

    def _of_exporter(self) -> Iterator[Series]:
        gateway = self.gateway
        started = [0.0, *(end for _, end in gateway.host_down + gateway.exporter_down)]
        present = len(gateway.interfaces)

        def recorded(time: float) -> float:
            """The last snapshot that reached the database, by the gateway's clock; one each minute."""
            blocked = gateway.database_down + gateway.schema_wrong
            last = time - time % 60
            while inside(blocked, last):
                last -= 60
            return max(1.0, last + gateway.offset(last))

        def gone(time: float) -> float:
            return float(present - sum(inside(interface.gone, time) for interface in gateway.interfaces))

        database = {"database": "argus@db.example:5432/argus"}
        yield from self._emit(
            "process_start_time_seconds",
            {},
            lambda time: max(1.0, *(start for start in started if start <= time)),
        )
        yield from self._emit("wireguard_exporter_interfaces", {}, gone)
        yield from self._emit("wireguard_exporter_snapshot_interval_seconds", {}, lambda _: 60.0)
        yield from self._emit("wireguard_exporter_snapshot_last_success_timestamp_seconds", {}, recorded)
        yield from self._emit("wireguard_exporter_spool_quota_bytes", {}, lambda _: 1e8)
        yield from self._emit("wireguard_exporter_spool_bytes", {}, lambda _: 1e6)
        yield from self._emit(
            "wireguard_exporter_spool_full", {}, lambda time: float(inside(gateway.spool_full, time))
        )
        yield from self._emit("wireguard_exporter_spool_broken", {}, lambda _: 0.0)
        yield from self._emit(
            "wireguard_exporter_database_up",
            database,
            lambda time: float(not inside(gateway.database_down, time)),
        )
        yield from self._emit(
            "wireguard_exporter_database_schema_ok",
            {},
            lambda time: float(not inside(gateway.schema_wrong, time)),
        )
        yield from self._emit(
            "wireguard_exporter_reload_success",
            {"file": "directory"},
            lambda time: float(not inside(gateway.file_refused, time)),
        )

    def _of_interface(self, interface: Interface) -> Iterator[Series]:
        own = {"interface": interface.name}
        read = {"source": "netlink", **own}
        info = {**own, "public_key": interface.key, "gateway": self.gateway.name, "kind": "kernel"}

        def readable(time: float) -> bool:
            flaps = inside(interface.flapping, time) and time // STEP % 6 == 0
            return not flaps and not inside(interface.unreadable + interface.gone, time)

        yield from self._emit("wireguard_interface_info", info, lambda time: 1.0 if readable(time) else None)
        yield from self._emit(
            "wireguard_interface_up",
            own,
            lambda time: float(not inside(interface.set_down, time)) if readable(time) else None,
        )
        yield from self._emit(
            "wireguard_exporter_read_success",
            read,
            lambda time: None if inside(interface.gone, time) else float(readable(time)),
        )
        yield from self._emit(
            "wireguard_exporter_read_failing",
            {**read, "reason": "timeout"},
            lambda time: None if readable(time) or inside(interface.gone, time) else 1.0,
        )

    def _of_tunnel(self, tunnel: Tunnel) -> Iterator[Series]:
        state = Traffic(self, tunnel)
        own = {"interface": tunnel.interface, "public_key": tunnel.key}

        def seen(at: Callable[[float], float | None]) -> Callable[[float], float | None]:
            return lambda time: at(time) if state.listed(time) else None

        def described(name: str, start: float, end: float) -> Iterator[Series]:
            labels = {
                **own,
                "peer": name,
                "site": tunnel.site,
                "role": "",
                "owner": tunnel.owner,
                "expected": tunnel.expected,
                "criticality": tunnel.criticality,
            }
            yield from self._emit(
                "wireguard_peer_info", labels, seen(lambda time: 1.0 if start <= time < end else None)
            )

        when, name = tunnel.renamed or (float("inf"), "")
        yield from described(tunnel.peer, 0, when)
        if name:
            yield from described(name, when, float("inf"))
        yield from self._emit("wireguard_peer_stale_after_seconds", own, seen(lambda _: float(tunnel.window)))
        yield from self._emit("wireguard_peer_last_handshake_timestamp_seconds", own, seen(state.handshake))
        yield from self._emit("wireguard_peer_handshake_age_seconds", own, seen(state.age))
        yield from self._emit("wireguard_peer_handshakes_total", own, seen(state.handshakes))
        for direction in ("receive", "transmit"):
            yield from self._emit(
                f"wireguard_peer_{direction}_bytes_total",
                own,
                seen(lambda time, direction=direction: state.bytes(time, direction)),  # type: ignore[misc]
            )
        yield from self._rare(tunnel, own, state)

    def _rare(self, tunnel: Tunnel, own: dict[str, str], state: Traffic) -> Iterator[Series]:
        """Series of peers to which something happened."""

        def seen(at: Callable[[float], float | None]) -> Callable[[float], float | None]:
            return lambda time: at(time) if state.listed(time) else None

        if tunnel.rerouted_at is not None:
            at = tunnel.rerouted_at
            yield from self._emit(
                "wireguard_peer_allowed_ips_changed_timestamp_seconds",
                own,
                seen(lambda time: at if time >= at else None),
            )
        if tunnel.unknown:
            span = tunnel.unknown
            yield from self._emit(
                "wireguard_peer_unknown", own, seen(lambda time: 1.0 if inside([span], time) else None)
            )
        if tunnel.alternates or tunnel.moves_every:
            for what in ("changes", "address_changes", "returns"):
                if what != "returns" or tunnel.alternates:
                    yield from self._emit(
                        f"wireguard_peer_endpoint_{what}_total", own, seen(state.endpoint_changes)
                    )


class Traffic:
    """Handshakes and bytes of one tunnel."""

    def __init__(self, page: Page, tunnel: Tunnel) -> None:
        self.page = page
        self.tunnel = tunnel
        self.gateway = page.gateway
        self.interface = next(one for one in page.gateway.interfaces if one.name == tunnel.interface)
        self.resets = sorted(end for _, end in self.gateway.host_down + self.interface.gone)
        self.times = list(self._handshakes())
        self._at = 0  # index into `times`, for ascending calls

    def listed(self, time: float) -> bool:
        broken = self.interface.gone + self.interface.unreadable
        flaps = inside(self.interface.flapping, time) and time // STEP % 6 == 0
        known = not self.tunnel.unknown or time >= self.tunnel.unknown[0]
        return known and time < self.tunnel.removed_at and not flaps and not inside(broken, time)

    @cached_property
    def _away(self) -> list[Span]:
        """Times without a connection, in order and without overlaps."""
        spans = list(self.tunnel.down)
        for gateway in self.page.mesh.gateways:  # at this end, and at the other if the peer is a gateway
            for interface in gateway.interfaces:
                if interface is self.interface or interface.key == self.tunnel.key:
                    spans += gateway.host_down + gateway.uplink_down + interface.set_down + interface.gone
        spans.sort()
        merged: list[Span] = []
        for start, end in spans:
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], end)
            else:
                merged.append((start, end))
        return merged

    def _handshakes(self) -> Iterator[float]:
        """Times of handshakes: one every 2 minutes, and one soon after the end of an outage."""
        away = self._away
        time = -self.page.random.uniform(0, 120)
        while time < DAY + 1:
            over = [end for start, end in away if start <= time < end]
            if over:
                time = max(over) + self.page.random.uniform(2, 35)
                continue
            yield time
            time += self.page.random.uniform(*self.tunnel.handshake_every)

    def _last(self, time: float) -> float | None:
        """The last handshake that the kernel remembers."""
        if self._at >= len(self.times) or self.times[self._at] > time:
            self._at = 0
        while self._at + 1 < len(self.times) and self.times[self._at + 1] <= time:
            self._at += 1
        last = self.times[self._at]
        reset = max((one for one in self.resets if one <= time), default=float("-inf"))
        return last if reset < last <= time else None

    def handshake(self, time: float) -> float:
        last = self._last(time)
        return 0.0 if last is None else self._by_gateway(last)

    def age(self, time: float) -> float | None:
        """By the gateway's clock, which may have been set since the handshake; not below 0."""
        last = self._last(time)
        if last is None:
            return None
        return max(0.0, time + self.gateway.offset(time) - self._by_gateway(last))

    def _by_gateway(self, time: float) -> float:
        """The time by the gateway's clock. It is not 0, which stands for no handshake."""
        return max(1.0, float(round(time + self.gateway.offset(time))))

    def handshakes(self, time: float) -> float:
        """Handshakes that the exporter has seen since it started."""
        starts = [end for _, end in self.gateway.host_down + self.gateway.exporter_down if end <= time]
        since = bisect_right(self.times, max(starts, default=0.0))
        return float(bisect_right(self.times, time) - since)

    def bytes(self, time: float, direction: str) -> float:
        since = max((one for one in self.resets if one <= time), default=0.0)
        rate = self.tunnel.daily * MEGABYTE / DAY
        lost = sum(max(0.0, min(time, end) - max(since, start)) for start, end in self._away)
        volume = rate * (time - since - lost)
        if direction == "transmit" and self.tunnel.server_keepalive:
            volume += 30 * lost  # handshakes without an answer, every 5 seconds
        for (start, end), way, megabytes in self.tunnel.bursts:
            if way == direction and since <= start <= time:
                volume += megabytes * MEGABYTE * min(1.0, (time - start) / (end - start))
        return float(round(volume))

    def endpoint_changes(self, time: float) -> float | None:
        if self.tunnel.moves_every:
            return float(1 + time // self.tunnel.moves_every)
        start, end = self.tunnel.alternates or (0.0, 0.0)
        return float(1 + (min(time, end) - start) // 40) if time >= start else None


def _without_leading_markers(series: Series) -> Iterator[Series]:
    """A series that has not begun has no stale markers. None if it never begins."""
    values = list(series.values)
    begins = next((at for at, value in enumerate(values) if value is not None and value != STALE), None)
    if begins is not None:
        yield Series(series.name, series.labels, [None] * begins + values[begins:])
