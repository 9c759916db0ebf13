"""Draws the pictures of `argus-wg show` in docs/images: `python docs/screenshots.py [DIRECTORY]`.

The peers are those of `argus-wg demo` on one gateway, at a fixed time; the table is drawn by the code of the
command, so the pictures change only when the command does.
"""

from __future__ import annotations

import io
import os
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from exporter.demo.plan import MESH, Node, PeerNode
from exporter.directory.entry import Entry
from exporter.expectation import expected_of, window_of
from exporter.liveness import judge
from exporter.model import Device, Link, Peer, Snapshot
from exporter.show.peers import PeerRow, View, arrange
from exporter.show.table import Screen

IMAGES = Path(__file__).with_name("images")
WIDTHS = {"show.svg": 132, "show-narrow.svg": 80}  # columns of the terminal
NOW = 1_790_000_000.25  # 2026-09-21 14:13:20 UTC
INTERVAL = 2.0
MEGABYTE = 1 << 20

# rich's template without its fonts, which it would load from the network.
TEMPLATE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <style>
    .{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; }}
    .{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix" xml:space="preserve">
    {matrix}
    </g>
  </g>
</svg>
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a reading finds of a peer: seconds since its handshake (None = never), bytes, bytes per second."""

    age: int | None
    received: int
    sent: int
    receive_rate: float
    send_rate: float
    unanswered: bool = False


MOMENTS = {
    "gw2": Moment(41, 612 * MEGABYTE, 608 * MEGABYTE, 8640, 8640),
    "hamburg": Moment(17, 3720 * MEGABYTE, 3715 * MEGABYTE, 49_920, 49_920),
    "elbe": Moment(1504, 101 * MEGABYTE, 49 * MEGABYTE, 0, 0),
    "ada": Moment(2710, 38 * MEGABYTE, 171 * MEGABYTE, 0, 0),
    "spare": Moment(None, 0, 0, 0, 0),
    "porto": Moment(96, 460 * MEGABYTE, 1810 * MEGABYTE, 7200, 25_440),
    "braga": Moment(63, 5950 * MEGABYTE, 296 * MEGABYTE, 81_900, 4_440),
    "faro": Moment(388, 640 * MEGABYTE, 15 * MEGABYTE, 0, 76, unanswered=True),
}
INTERFACES = {"wg0": "gw1", "wg1": "gw2"}  # the gateway of the demo whose peers are on it


def key_of(name: str) -> str:
    """A public key that is always the same."""
    return b64encode(sha256(name.encode()).digest()).decode()


def nodes_of(gateway: str) -> Iterator[Node]:
    """The peers on an interface: on the first one, the other gateway as well."""
    if gateway == MESH.gateways[0].name:
        yield MESH.gateways[1]
    yield from (peer for peer in MESH.peers if peer.gateway == gateway)


def peer_of(node: Node) -> Peer:
    planned = node if isinstance(node, PeerNode) else None
    return Peer(
        key_of(node.name),
        allowed_ips=node.allowed_ips,
        endpoint=node.endpoint if MOMENTS[node.name].age is not None else "",
        persistent_keepalive=planned.keepalive if planned else 0,
        has_preshared_key=bool(planned and planned.preshared),
    )


def row_of(interface: str, node: Node) -> PeerRow:
    """The row of the table, judged as the command judges it."""
    planned, moment, peer = node.entry, MOMENTS[node.name], peer_of(node)
    entry = Entry(
        peer.public_key,
        name=planned.name,
        site=planned.site,
        expected=planned.expected,
        criticality=planned.criticality,
        stale_after=planned.stale_after or None,
    )
    expected, window = expected_of(peer, entry), window_of(peer, entry)
    handshake = 0 if moment.age is None else int(NOW) - moment.age
    return PeerRow(
        interface=interface,
        peer=peer,
        entry=entry,
        state=judge(handshake, NOW, window, expected, unanswered=moment.unanswered),
        expected=expected,
        window=window,
        last_handshake=handshake,
        age=NOW - handshake if handshake else None,
        receive_bytes=moment.received,
        transmit_bytes=moment.sent,
        receive_rate=moment.receive_rate,
        transmit_rate=moment.send_rate,
    )


def view() -> View:
    """One gateway with both interfaces of the demo."""
    rows = [row_of(name, node) for name, gateway in INTERFACES.items() for node in nodes_of(gateway)]
    devices = tuple(
        Device(name, "kernel", link=Link(up=True), peers=[peer_of(node) for node in nodes_of(gateway)])
        for name, gateway in INTERFACES.items()
    )
    return View(
        Snapshot("gw-berlin-1", NOW, devices), rows, Counter(row.state for row in rows), frozenset(INTERFACES)
    )


def picture(name: str, width: int) -> str:
    """The live table in a terminal of so many columns, as SVG."""
    shown = view()
    rows = arrange(shown.rows, set(), "state")
    height = len(rows) + 5  # two lines of the header, a blank one, titles, the footer
    console = Console(
        file=io.StringIO(), record=True, width=width, height=height, force_terminal=True, highlight=False
    )
    console.print(Screen(shown, rows, INTERVAL, Path("/var/run/wireguard")))
    identity = name.removesuffix(".svg")
    return console.export_svg(title="argus-wg show", code_format=TEMPLATE, unique_id=identity)


def main() -> None:
    os.environ["TZ"] = "UTC"  # the table has the local time
    time.tzset()
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    directory.mkdir(parents=True, exist_ok=True)
    for name, width in WIDTHS.items():
        (directory / name).write_text(picture(name, width))


if __name__ == "__main__":
    main()
