"""The pages of two other WireGuard exporters, for dashboards and rules that were built on them.

Facts are taken from their sources: MindFlavor/prometheus_wireguard_exporter 3.6.6 (`src/wireguard.rs`,
`src/friendly_description.rs`) and mdlayher/wireguard_exporter (`collector.go`, on client_golang, whose
registry sorts families by name and series by their label values). Where an original would show a wrong
value or break its own page it is not followed; docs/migrating.md lists each such place.

Both pages are generators of blocks of at most 512 lines, so that a thread that renders a large gateway
lets others run in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter

from exporter.directory.entry import Entry
from exporter.metrics.text import PROMETHEUS, head
from exporter.model import Device, Peer, Snapshot, split_endpoint

MINDFLAVOR_CONTENT_TYPE = "text/plain; version=0.0.4"
MDLAYHER_CONTENT_TYPE = PROMETHEUS

Lookup = Callable[[str], Entry | None]  # public key → who that is

LINES_PER_BLOCK = 512
NO_PUBLIC_KEY = "A" * 43 + "="  # what mdlayher shows for a device without a key: 32 zero bytes in base64


def mindflavor(
    snapshot: Snapshot, lookup: Lookup, *, now: float, handshake_delay: bool, remote_ip: bool
) -> Iterator[bytes]:
    """The page of MindFlavor's exporter. `now` is in UNIX seconds; the switches are its `-d` and `-r`.

    Interfaces are sorted by name, peers stand in the device's order; a blank line parts the families, and
    a family has its header even when no series follows.
    """
    devices = _by_label(snapshot)
    series = [
        _mindflavor_labels(device, peer, lookup(peer.public_key), remote_ip=remote_ip)
        for device in devices
        for peer in device.peers
    ]
    sent = [value for device in devices for value in device.transmit_bytes]
    received = [value for device in devices for value in device.receive_bytes]
    handshakes = [value for device in devices for value in device.last_handshake]

    def family(name: str, kind: str, help_text: str, values: Iterable[int | None]) -> Iterator[bytes]:
        yield head(name, kind, help_text, openmetrics=False).encode()
        yield from _blocks(
            name,
            (f"{labels} {value}" for labels, value in zip(series, values, strict=True) if value is not None),
        )

    yield from family("wireguard_sent_bytes_total", "counter", "Bytes sent to the peer", sent)
    yield b"\n"
    yield from family("wireguard_received_bytes_total", "counter", "Bytes received from the peer", received)
    yield b"\n"
    yield from family(
        "wireguard_latest_handshake_seconds",
        "gauge",
        "UNIX timestamp seconds of the last handshake",
        handshakes,
    )
    if handshake_delay:
        yield b"\n"
        yield from family(
            "wireguard_latest_handshake_delay_seconds",
            "gauge",
            "Seconds from the last handshake",
            (_delay(handshake, now) for handshake in handshakes),
        )


def _delay(handshake: int, now: float) -> int | None:
    """Whole seconds since a handshake; none for never, and 0 for one ahead of a clock that was set back."""
    return max(0, int(now - handshake)) if handshake else None


def _mindflavor_labels(device: Device, peer: Peer, entry: Entry | None, *, remote_ip: bool) -> str:
    """A peer's labels in MindFlavor's order, in which friendly_json stands between address and port."""
    address, port = split_endpoint(peer.endpoint) if remote_ip else ("", "")
    pairs = [
        ("interface", device.label),
        ("public_key", peer.public_key),
        ("allowed_ips", ",".join(peer.allowed_ips) or "(none)"),
    ]
    if entry and entry.name:
        pairs.append(("friendly_name", entry.name))
    if address:
        pairs.append(("remote_ip", address.partition("%")[0]))
    if entry:
        pairs.extend(entry.extra)  # wgquick.py lets nothing in that cannot be a label beside these
    if port:
        pairs.append(("remote_port", port))
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def mdlayher(snapshot: Snapshot, lookup: Lookup) -> Iterator[bytes]:
    """The page of mdlayher's exporter, without the families that describe its own Go process.

    Families are sorted by name and series by their label values; a family without series has no header.
    """
    devices = _by_label(snapshot)
    info = (
        f'{{device="{_escape(device.label)}",public_key="{device.public_key or NO_PUBLIC_KEY}"}} 1'
        for device in devices
    )
    yield from _go_family("wireguard_device_info", "gauge", "Metadata about a device.", info)

    networks = (
        f'{{allowed_ips="{network}",device="{_escape(device)}",family="{family}",public_key="{key}"}} 1'
        for network, device, family, key in _in_order(
            (network, device.label, "IPv6" if ":" in network else "IPv4", peer.public_key)
            for device in devices
            for peer in device.peers
            for network in peer.allowed_ips
        )
    )
    yield from _go_family(
        "wireguard_peer_allowed_ips_info",
        "gauge",
        "Metadata about each of a peer's allowed IP subnets for a given device.",
        networks,
    )

    peers = (
        f'{{device="{_escape(device)}",endpoint="{_escape(endpoint)}",name="{_escape(name)}",'
        f'public_key="{key}"}} 1'
        for device, endpoint, name, key in _in_order(
            (device.label, _go_endpoint(device, peer), _name(lookup(peer.public_key)), peer.public_key)
            for device in devices
            for peer in device.peers
        )
    )
    yield from _go_family(
        "wireguard_peer_info",
        "gauge",
        "Metadata about a peer. The public_key label on peer metrics refers to the peer's public key; "
        "not the device's public key.",
        peers,
    )

    series = [
        (f'{{device="{_escape(device.label)}",public_key="{peer.public_key}"}}', handshake, received, sent)
        for device in devices
        for peer, handshake, received, sent in sorted(
            zip(
                device.peers, device.last_handshake, device.receive_bytes, device.transmit_bytes, strict=True
            ),
            key=lambda row: row[0].public_key,
        )
    ]
    yield from _go_family(
        "wireguard_peer_last_handshake_seconds",
        "gauge",
        "UNIX timestamp for the last handshake with a given peer.",
        (f"{labels} {go_float(handshake)}" for labels, handshake, _, _ in series),
    )
    yield from _go_family(
        "wireguard_peer_receive_bytes_total",
        "counter",
        "Number of bytes received from a given peer.",
        (f"{labels} {go_float(received)}" for labels, _, received, _ in series),
    )
    yield from _go_family(
        "wireguard_peer_transmit_bytes_total",
        "counter",
        "Number of bytes transmitted to a given peer.",
        (f"{labels} {go_float(sent)}" for labels, _, _, sent in series),
    )


def _go_family(name: str, kind: str, help_text: str, samples: Iterable[str]) -> Iterator[bytes]:
    """A family of samples that lack its name; nothing at all without samples."""
    blocks = _blocks(name, samples)
    for first in blocks:
        yield head(name, kind, help_text, openmetrics=False).encode() + first
        yield from blocks


def _in_order(series: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Series by their label values, in the order of the labels.

    Sorting holds the interpreter, so it is kept short: strings sort several times faster than tuples, and
    a NUL between the values keeps their order, since nothing is smaller.
    """
    keyed = [("\0".join(values), values) for values in series]
    keyed.sort(key=itemgetter(0))
    return (values for _, values in keyed)


def _go_endpoint(device: Device, peer: Peer) -> str:
    """The endpoint as wgctrl-go reads it: from the kernel without the zone of a link-local address."""
    if device.kind == "userspace" or "%" not in peer.endpoint:
        return peer.endpoint
    address, port = split_endpoint(peer.endpoint)
    return f"[{address.partition('%')[0]}]:{port}"


def _name(entry: Entry | None) -> str:
    return entry.name if entry else ""


def go_float(value: int) -> str:
    """A count as Go prints a float64 in its shortest form (`strconv.FormatFloat(v, 'g', -1, 64)`).

    >>> go_float(999_999), go_float(1_000_000), go_float(1_588_274_629)
    ('999999', '1e+06', '1.588274629e+09')

    From an exponent of 6 digits it writes one digit before the point (golang.org/src/strconv/ftoa.go), and
    beyond 2^53 the nearest float64 is shown, as with every number that Prometheus stores.
    """
    if value < 10**6:
        return str(value)
    if value >= 10**16:  # where Python too writes an exponent, and writes it the same way
        return repr(float(value))
    digits = str(value if value < 2**53 else int(float(value)))
    fraction = digits[1:].rstrip("0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e+{len(digits) - 1:02}"


def _by_label(snapshot: Snapshot) -> list[Device]:
    return sorted(snapshot.devices, key=lambda device: device.label)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _blocks(name: str, samples: Iterable[str]) -> Iterator[bytes]:
    """Samples that lack the name of their family, as lines in blocks of bytes. Half a surrogate pair, which
    JSON can spell and UTF-8 cannot, becomes a question mark."""
    samples = iter(samples)
    while block := list(islice(samples, LINES_PER_BLOCK)):
        yield (name + f"\n{name}".join(block) + "\n").encode("utf-8", "replace")
