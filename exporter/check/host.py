"""Checks of the host: capabilities, the kernel module, namespaces, sockets, interfaces, clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from exporter.check.finding import Finding, failed, good, warning
from exporter.check.remedies import capability_remedy, remedy_of, user
from exporter.config import Config
from exporter.errors import ReadError
from exporter.liveness import SKEW_TOLERANCE
from exporter.model import Device, Reading, Snapshot
from exporter.reader import gateway_of
from exporter.sourcenames import NETLINK, UAPI, is_netlink, namespace_of
from exporter.sources.netlink import resolve_family
from exporter.terminal import age_text, count_text

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21  # include/uapi/linux/capability.h
STATUS = Path("/proc/self/status")


def host(settings: Config) -> Iterator[Finding]:
    """The findings of one reading of the gateway."""
    snapshot = gateway_of(settings).read()
    yield from capabilities(settings, snapshot, effective_capabilities())
    yield from kernel(settings, snapshot)
    yield from namespaces(snapshot)
    yield from sockets(settings, snapshot)
    yield from interfaces(settings, snapshot)
    yield from clock(snapshot)


def effective_capabilities(status: Path = STATUS) -> int:
    """CapEff of this process, a bit for each capability (proc_pid_status(5))."""
    lines = status.read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))


def capabilities(settings: Config, snapshot: Snapshot, effective: int) -> Iterator[Finding]:
    """CAP_NET_ADMIN to read interfaces of the kernel, CAP_SYS_ADMIN to enter namespaces."""
    if not settings.sources.netlink:
        yield good("capabilities", "none is needed: `sources.netlink` is off")
        return
    needed = [("CAP_NET_ADMIN", CAP_NET_ADMIN, "to read interfaces of the kernel")]
    if settings.namespaces or settings.all_namespaces:
        needed.append(("CAP_SYS_ADMIN", CAP_SYS_ADMIN, "to enter other network namespaces"))
    remedy = capability_remedy(*(name for name, _, _ in needed))
    refused = any(r.reason == "permission" and is_netlink(r.source) for r in snapshot.readings)
    for name, bit, purpose in needed:
        if effective >> bit & 1:
            yield good(name, f"{user()} has it")
        elif refused:
            yield failed(name, f"{user()} does not have it, and needs it {purpose}", remedy)
        else:
            message = f"{user()} does not have it; nothing needs it now, but it is needed {purpose}"
            yield warning(name, message, remedy)


def kernel(settings: Config, snapshot: Snapshot) -> Iterator[Finding]:
    """Whether the kernel has WireGuard. Resolving the family makes the kernel load the module."""
    check = "kernel module"
    if not settings.sources.netlink:
        return
    try:
        number = resolve_family()
    except ReadError as error:
        if error.reason == "module" and any(map(_in_userspace, snapshot.readings)):
            yield good(check, "the kernel has no WireGuard; userspace interfaces work without it")
            return
        remedy = remedy_of(Reading(NETLINK, "", 0, error.reason), settings.sources.uapi_directory)
        yield failed(check, error.problem, remedy)
    else:
        yield good(check, f"the kernel has WireGuard (generic netlink family {number})")


def namespaces(snapshot: Snapshot) -> Iterator[Finding]:
    """Each network namespace other than the process's own."""
    for reading in snapshot.readings:
        if reading.interface or not is_netlink(reading.source):
            continue
        if name := namespace_of(reading.source):
            yield _read(f"namespace {name}", reading, "can be entered and listed", Path())
        elif reading.reason not in ("", "module"):
            yield _read("interfaces of the kernel", reading, "", Path())


def sockets(settings: Config, snapshot: Snapshot) -> Iterator[Finding]:
    """The directory of UAPI sockets. The sockets are checked as interfaces; none is ever removed."""
    path = settings.sources.uapi_directory
    for reading in snapshot.readings:
        if reading.source == UAPI and not reading.interface:
            count = sum(other.source == UAPI and bool(other.interface) for other in snapshot.readings)
            there = (
                f"{path}: {count_text(count, 'socket')}"
                if path.is_dir()
                else f"{path} does not exist: no userspace interfaces"
            )
            yield _read("UAPI directory", reading, there, path)


def interfaces(settings: Config, snapshot: Snapshot) -> Iterator[Finding]:
    """Each interface, of the kernel or with a UAPI socket."""
    peers = {device.label: len(device.peers) for device in snapshot.devices}
    readings = [reading for reading in snapshot.readings if reading.interface]
    for reading in readings:
        done = (
            f"read in {reading.duration * 1000:.0f} ms: {count_text(peers.get(reading.interface, 0), 'peer')}"
        )
        yield _read(f"interface {reading.interface}", reading, done, settings.sources.uapi_directory)
    for device in snapshot.devices:
        if device.link and not device.link.up:
            remedy = f"run `{_within(device)}ip link set {quote(device.name)} up`"
            yield warning(f"interface {device.label}", "the link is down: no tunnel works", remedy)
    if not readings:
        yield warning(
            "interfaces",
            "there is no WireGuard interface to read",
            "run `wg-quick up NAME`; if there is one, check `interfaces` and `namespaces` in the "
            "configuration",
        )


def clock(snapshot: Snapshot) -> Iterator[Finding]:
    """A handshake in the future means that the clock was set back after it."""
    latest = snapshot.taken_at + SKEW_TOLERANCE
    ahead = [time for device in snapshot.devices for time in device.last_handshake if time > latest]
    if ahead:
        most = age_text(max(ahead) - snapshot.taken_at)
        yield warning(
            "clock",
            f"{count_text(len(ahead), 'handshake')} in the future, by up to {most}: the clock was set back",
            "run `timedatectl set-ntp true`; the age of each peer is right again after its next handshake",
        )
    elif any(any(device.last_handshake) for device in snapshot.devices):
        yield good("clock", "no handshake is in the future")


def _read(check: str, reading: Reading, message: str, uapi_directory: Path) -> Finding:
    if reading.ok:
        return good(check, message)
    why = reading.message.removeprefix(f"{reading.interface}: ")
    return failed(check, f"{reading.reason}: {why}", remedy_of(reading, uapi_directory))


def _in_userspace(reading: Reading) -> bool:
    """Whether a userspace process runs the interface of this reading."""
    return reading.source == UAPI and bool(reading.interface) and reading.reason != "stale-socket"


def _within(device: Device) -> str:
    return f"ip netns exec {quote(device.namespace)} " if device.namespace else ""
