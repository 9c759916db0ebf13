"""The simulated day: a mesh, what happens to it, and which notifications are right."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.alerts.day.incidents import LATE, MINUTE, Incident, about, either, named
from tests.alerts.day.mesh import DAY, Gateway, Interface, Mesh, Span, Tunnel
from tests.alerts.day.notifications import Labels

HOUR = 3600.0
EVENT = HOUR  # seconds within which an event, which has no end, is reported


@dataclass
class Day:
    mesh: Mesh
    incidents: list[Incident] = field(default_factory=list)

    def span(self, hour: float, minutes: float) -> Span:
        """A fault that begins up to 2 minutes after this hour."""
        start = hour * HOUR + random.Random(f"{self.mesh.seed} {hour}").uniform(0, 120)
        return start, start + minutes * MINUTE

    def lose(self, span: Span, *peers: str) -> None:
        """Disconnect all tunnels of the peers."""
        for one in self.mesh.tunnels:
            if one.peer in peers:
                one.down.append(span)

    def cut(self, span: Span, *gateways: str) -> None:
        """Cut the uplinks of the gateways."""
        for name in gateways:
            self.mesh.gateway(name).uplink_down.append(span)

    def tunnel(self, peer: str, gateway: str = "") -> Tunnel:
        return next(one for one in self.mesh.tunnels if one.peer == peer and gateway in ("", one.gateway))

    def add(
        self,
        name: str,
        span: Span,
        receiver: str,
        concerns: Callable[[Labels], bool] = lambda _: False,
        slack: float = LATE,
    ) -> None:
        self.incidents.append(Incident(name, span, receiver, concerns, slack))


def around(gateway: str) -> Callable[[Labels], bool]:
    """Alerts about a gateway, about its site, and about the gateway as a peer."""
    number = gateway.removeprefix("gw")
    return either(
        about(instance=f"{gateway}:9586"), about(public_key=f"KG{number}"), about(site=f"dc{number}")
    )


def build_mesh(seed: int) -> Mesh:
    """Six gateways at sites of their own, most of them peers of each other, with all kinds of peers."""
    gateways = [
        Gateway(f"gw{n}", [Interface("wg0", f"KG{n}"), *([Interface("wg1", f"KG{n}b")] if n == 1 else [])])
        for n in range(1, 7)
    ]
    return Mesh(gateways, [*_mesh_tunnels(), *_office_tunnels(), *_other_tunnels()], seed=seed)


def _mesh_tunnels() -> Iterator[Tunnel]:
    for one in range(1, 6):
        for other in range(1, 6):
            if one != other:
                urgent = "high" if other == 2 else "normal"
                yield Tunnel(f"gw{one}", "wg0", f"KG{other}", f"gw{other}", f"dc{other}", criticality=urgent)


def _office_tunnels() -> Iterator[Tunnel]:
    """Sites with three peers: two on one gateway, and one on the next."""
    for n in range(1, 6):
        for office in range(1, 3):
            site = f"office{n}{office}"
            for m, gateway in enumerate((n, n, n % 5 + 1), 1):
                urgent = "high" if m == 1 else "normal"
                yield Tunnel(
                    f"gw{gateway}", "wg0", f"K{site}{m}", f"{site}-{m}", site, "it", criticality=urgent
                )


def _other_tunnels() -> Iterator[Tunnel]:
    for n in range(1, 6):
        for m in range(1, 4):
            urgent, window = "high" if m == 1 else "normal", 300 if m < 3 else 600
            key, peer = f"Ksensor{n}{m}", f"sensor{n}{m}"
            yield Tunnel(
                f"gw{n}", "wg0", key, peer, f"field{n}{m}", "field", criticality=urgent, window=window
            )
        for m in range(1, 3):
            key, peer = f"Klaptop{n}{m}", f"laptop{n}{m}"
            yield Tunnel(f"gw{n}", "wg0", key, peer, expected="on-demand", server_keepalive=m == 1)
    for m in range(1, 7):  # three sites on the second interface of gw1
        yield Tunnel("gw1", "wg1", f"Kbranch{m}", f"branch-{m}", f"branch{(m + 1) // 2}")
    for gateway in ("gw4", "gw5"):
        yield Tunnel(gateway, "wg0", "Kplant", "plant", "plant", "plant", criticality="high")
    for gateway in ("gw1", "gw2"):  # at the site of a gateway
        yield Tunnel(gateway, "wg0", "Kdesk", "desk", "dc4", criticality="high")
    for m, site in enumerate(("east", "east", "north", "south"), 1):  # a small gateway
        yield Tunnel("gw6", "wg0", f"Ksmall{m}", f"small{m}", site)
    yield Tunnel("gw3", "wg0", "Knew", "newcomer", "lab", busiest=None)
    yield Tunnel("gw3", "wg0", "Kweekend", "weekend", "lab2", busiest=None, daily=3000)


def build_day(seed: int = 1) -> Day:
    """A day with faults of every kind, and with events that look like faults."""
    day = Day(build_mesh(seed))
    for part in (
        _gateways,
        _sites_and_peers,
        _interfaces,
        _quiet,
        _monitoring,
        _files_and_records,
        _security,
        _volumes,
    ):
        part(day)
    return day


def _gateways(day: Day) -> None:
    gateway = day.mesh.gateway
    when = day.span(0.6, 2)
    gateway("gw1").host_down.append(when)
    day.add("gateway restarts", when, "")

    when = day.span(1.2, 50)
    gateway("gw3").host_down.append((when[0], when[0] + 2 * MINUTE))
    day.lose(when, "sensor31")
    day.add("critical peer does not return after a restart", when, "pager", about(public_key="Ksensor31"))

    when = day.span(2.1, 40)
    gateway("gw2").host_down.append(when)
    day.add("gateway down", when, "pager", around("gw2"))

    when = day.span(3.1, 25)
    day.cut(when, "gw3")
    day.add("uplink cut", when, "pager", around("gw3"))

    when = day.span(11.0, 40)
    gateway("gw5").exporter_down.append(when)
    day.cut(when, "gw5")
    day.add("uplink cut, also for monitoring", when, "pager", around("gw5"))

    when = day.span(11.9, 20)
    half = ["office21-1", "office21-2", "office22-1", "office22-2", "sensor21", "sensor22", "gw1", "gw3"]
    for one in day.mesh.tunnels:
        if one.gateway == "gw2" and one.peer in half:
            one.down.append(when)
    day.add("a gateway loses most of its peers", when, "pager", about(instance="gw2:9586"))

    when = day.span(22.6, 25)
    gateway("gw4").host_down.append(when)
    day.lose(when, "desk")
    day.add("power cut at a site with a gateway", when, "pager", around("gw4"))

    when = day.span(23.2, 20)
    day.cut(when, "gw1", "gw2", "gw3", "gw5")
    day.add("uplinks of most gateways cut", when, "pager", about(concern="availability"))


def _sites_and_peers(day: Day) -> None:
    when = day.span(4.0, 30)
    day.lose(when, "office41-1", "office41-2", "office41-3")
    day.add("site down", when, "pager", about(site="office41"))

    when = day.span(4.2, 30)
    day.lose(when, "small1", "small2")
    day.add("site of a small gateway down", when, "pager", about(site="east"))

    when = day.span(5.0, 60)
    day.lose(when, "sensor12")
    day.add("peer down", when, "tickets", about(public_key="Ksensor12"))

    when = day.span(5.2, 45)
    day.lose(when, "plant")
    day.add("critical peer with two tunnels down", when, "pager", about(site="plant"))

    when = day.span(8.0, 50)
    day.lose(when, "sensor51")
    day.mesh.stopped.append((when[0] + 20 * MINUTE, when[0] + 22 * MINUTE))
    day.tunnel("sensor51").renamed = (when[0] + 30 * MINUTE, "tide-gauge")
    day.add("critical peer down, Prometheus restarts, rename", when, "pager", about(public_key="Ksensor51"))

    day.tunnel("sensor23").handshake_every = (24, 26)
    day.add("peer that restarts constantly", (0, DAY), "tickets", about(public_key="Ksensor23"))

    when = day.span(10.0, 45)
    day.lose(when, "office11-1", "office12-1")
    day.add("first critical peer of a gateway down", when, "pager", about(public_key="Koffice111"))
    day.add("second critical peer of a gateway down", when, "pager", about(public_key="Koffice121"))

    when = day.span(13.2, 50)
    day.lose(when, "sensor41")
    day.mesh.gateway("gw4").labelled_at = 13.5 * HOUR
    day.add("critical peer down, its target gets a label", when, "pager", about(public_key="Ksensor41"))

    when = day.span(14.3, 80)
    day.lose(when, "sensor11")
    day.add(
        "critical peer down while Prometheus is disconnected", when, "pager", about(public_key="Ksensor11")
    )


def _interfaces(day: Day) -> None:
    first, second = day.mesh.gateway("gw1").interfaces
    when = day.span(6.1, 30)
    second.set_down.append(when)
    day.add("interface down", when, "pager", about(instance="gw1:9586", interface="wg1"))
    when = day.span(7.1, 30)
    second.gone.append(when)
    day.add("interface gone", when, "pager", about(instance="gw1:9586", interface="wg1"))
    when = day.span(7.7, 20)
    day.mesh.gateway("gw5").interfaces[0].set_down.append(when)
    day.add("interface down between gateways", when, "pager", around("gw5"))
    when = day.span(8.1, 0.5)
    first.gone.append(when)
    day.add("interface is created again", when, "")
    when = day.span(15.2, 25)
    day.mesh.gateway("gw2").interfaces[0].unreadable.append(when)
    day.add("interface cannot be read", when, "pager", about(instance="gw2:9586"))


def _quiet(day: Day) -> None:
    """Events of which nobody needs a message."""
    mesh = day.mesh
    for one in mesh.tunnels:
        if one.expected == "on-demand":
            one.down += [(1 * HOUR, 6 * HOUR), (12 * HOUR, 13 * HOUR), (18 * HOUR, DAY)]
    day.add("laptops sleep", (1 * HOUR, DAY), "")
    chance = random.Random(f"{mesh.seed} blips")
    for one in mesh.tunnels:
        start = chance.uniform(0, DAY)
        one.down.append((start, start + chance.uniform(30, 200)))
    day.add("each peer is away for up to 3 minutes", (0, DAY), "")
    day.cut(day.span(12.8, 2.5), "gw4")
    day.add("uplink cut for 2.5 minutes", (12.8 * HOUR, 13 * HOUR), "")
    mesh.gateway("gw2").interfaces[0].flapping.append((13 * HOUR, 15 * HOUR))
    day.add("one reading in six fails", (13 * HOUR, 15 * HOUR), "")
    times = [9.4 * HOUR + two * 60 for two in range(45)]
    mesh.gateway("gw1").exporter_down += [(time, time + 30) for time in times]
    day.add("every second scrape fails", (9.4 * HOUR, 10.2 * HOUR), "")
    day.tunnel("laptop21").moves_every = 200
    day.add("a laptop on a train", (0, DAY), "")
    for one in mesh.tunnels:
        if not one.renamed and one.gateway == "gw3":
            one.renamed = (19.4 * HOUR, f"{one.peer}.example")
    day.add("all peers of a gateway are renamed", (19.4 * HOUR, 20 * HOUR), "")


def _monitoring(day: Day) -> None:
    when = day.span(14.0, 20)
    day.mesh.gateway("gw4").exporter_down.append(when)
    day.add("exporter down", when, "pager", about(instance="gw4:9586"))
    when = day.span(14.6, 15)
    day.mesh.unscraped.append(when)
    day.add("Prometheus is disconnected", when, "pager", named("ExporterDown", "ManyExportersDown"))
    day.mesh.gateway("gw6").removed_at = 21.0 * HOUR
    day.add("target removed", (21.0 * HOUR, 22.0 * HOUR), "tickets", about(instance="gw6:9586"))
    when = day.span(18.2, 30)
    day.mesh.gateway("gw4").clock.append((when[0], -3600.0))
    day.add("clock set back", when, "tickets", about(instance="gw4:9586"), slack=DAY)
    when = day.span(19.0, 30)
    day.mesh.gateway("gw1").clock.append((when[0], 3600.0))
    day.add("clock set forward", when, "tickets", about(instance="gw1:9586"), slack=DAY)


def _files_and_records(day: Day) -> None:
    gateways = day.mesh.gateways
    when = day.span(16.0, 50)
    for at, one in enumerate(gateways):
        one.database_down.append(when)
        one.spool_full.append((when[0] + (20 + 4 * at) * MINUTE, when[1]))
    behind = named("DatabaseDown", "SnapshotsBehind", "SpoolFilling")
    day.add("database down", when, "tickets", behind, slack=5 * MINUTE)
    lost = (when[0] + 20 * MINUTE, when[1])
    day.add("all spools full", lost, "pager", named("SpoolFull", "SnapshotsLost"))

    when = day.span(17.0, 20)
    for one in gateways:
        one.schema_wrong.append(when)
    day.add("schema of another version", when, "pager", named("SchemaWrong"))
    when = day.span(17.5, 30)
    for one in gateways:
        one.file_refused.append(when)
    day.add("directory file refused", when, "tickets", named("FileRefused"), slack=4 * MINUTE)
    when = day.span(18.6, 20)
    day.mesh.gateway("gw5").spool_full.append(when)
    day.add("disk of a spool full", when, "pager", about(instance="gw5:9586"))


def _security(day: Day) -> None:
    at = 20.0 * HOUR
    day.tunnel("sensor13").removed_at = at
    day.add("peer removed", (at, at), "security", about(public_key="Ksensor13"), EVENT)
    at = 20.2 * HOUR
    day.tunnel("sensor33").rerouted_at = at
    day.add("allowed IPs changed", (at, at), "security", about(public_key="Ksensor33"), EVENT)
    when = (20.4 * HOUR, float(DAY))
    day.mesh.tunnels.append(
        Tunnel("gw2", "wg0", "Kstranger", "Kstranger", expected="on-demand", busiest=None, unknown=when)
    )
    day.add("unknown key", when, "security", about(public_key="Kstranger"), EVENT)
    when = day.span(20.6, 60)
    day.tunnel("sensor43").alternates = when
    day.add("two hosts with one key", when, "security", about(public_key="Ksensor43"), EVENT)


def _volumes(day: Day) -> None:
    for peer, hour, known, volume in (
        ("office31-2", 15.5, 20000.0, 24000.0),
        ("office51-2", 17.0, 14000.0, 20000.0),
    ):
        regular = day.tunnel(peer)
        regular.busiest = known
        regular.bursts.append((day.span(hour, 25), "receive", volume))
    day.add("weekly and monthly backup", (15.5 * HOUR, 19 * HOUR), "")
    when = day.span(9.0, 30)
    day.tunnel("office32-2").bursts.append((when, "transmit", 8000))
    day.add("data stolen", when, "security", about(public_key="Koffice322"), EVENT)
    when = day.span(9.7, 80)
    day.tunnel("newcomer").bursts.append((when, "transmit", 30000))
    day.add("data stolen with a new key", when, "security", about(public_key="Knew"), 12 * HOUR)
    day.add("a peer known since the weekend", (0, DAY), "")

    when = day.span(21.8, 60)
    chance = random.Random(f"{day.mesh.seed} update")
    for one in day.mesh.tunnels:
        if one.busiest:
            start = chance.uniform(when[0], when[1] - 10 * MINUTE)
            one.bursts.append(((start, start + 10 * MINUTE), "transmit", 3000))
    day.add("software update of all hosts", when, "security", named("VolumeOfManyPeers"), 2 * HOUR)
