"""The per-peer text of one interface, in blocks of consecutive peers whose label text is written once.

A line is `name{interface="wg0",public_key="…"} 123`. All of it but the number stays, so a block keeps, for
each family, the lines of its peers as one format string, and renders them with a single `%`. What it
rendered last is kept compressed, and is the answer again while no number in it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress

from exporter.directory.entry import Directory, Entry
from exporter.expectation import expected_of, window_of
from exporter.liveness import Expected
from exporter.metrics.text import Deflated, deflate, encoded, inflate, labels
from exporter.model import Peer

SIZE = 256  # peers; their text stays below the size from which malloc asks the kernel for each block

Values = tuple[int | None, ...]  # one number a peer; None = the peer has no such series
INFO = "wireguard_peer_info"
KEEPALIVE, ALLOWED_IPS = "wireguard_peer_persistent_keepalive_seconds", "wireguard_peer_allowed_ips"


class Block:
    """Up to a few hundred consecutive peers of one interface, and the text of their series."""

    def __init__(self, interface: str, peers: tuple[Peer, ...], directory: Directory) -> None:
        self.keys = [peer.public_key for peer in peers]
        self._entries = [directory.get(key) for key in self.keys]
        pairs = zip(self.keys, self._entries, strict=True)
        self.unknown = [key for key, entry in pairs if entry is None] if directory.lists_peers else []
        self._lines = [_line({"interface": interface, "public_key": key}) for key in self.keys]
        self._interface = interface
        self._templates: dict[str, tuple[tuple[bool, ...] | None, bytes]] = {}
        self._rendered: dict[str, tuple[Values, Deflated]] = {}
        self.fixed: dict[str, Values] = {}
        self.configure(peers)

    def configure(self, peers: tuple[Peer, ...]) -> None:
        """The same peers with another configuration: an endpoint, a keepalive, allowed IPs."""
        self.peers = peers
        keepalives = tuple([peer.persistent_keepalive for peer in peers])
        prefixes = tuple([len(peer.allowed_ips) for peer in peers])
        if (keepalives, prefixes) == (self.fixed.get(KEEPALIVE), self.fixed.get(ALLOWED_IPS)):
            return  # an endpoint stands in no series
        pairs = list(zip(peers, self._entries, strict=True))
        self.expected = tuple(expected_of(peer, entry) for peer, entry in pairs)
        self.windows = tuple(window_of(peer, entry) for peer, entry in pairs)
        self.fixed = {
            INFO: (1,) * len(peers),
            "wireguard_peer_stale_after_seconds": self.windows,
            KEEPALIVE: keepalives,
            ALLOWED_IPS: prefixes,
        }
        self._rendered.pop(INFO, None)

    def text(self, family: str, values: Values) -> bytes:
        """The lines of one family; a peer without a value has none."""
        if family in self.fixed:
            return inflate(self.deflated(family, values)[0])
        present = None
        if None in values:
            present = tuple(value is not None for value in values)
            values = tuple(value for value in values if value is not None)
        known = self._templates.get(family)
        if not known or known[0] != present:
            known = present, self._template(family, self._lines, present)
            self._templates[family] = known
        return known[1] % values

    def _template(self, family: str, lines: list[str], present: tuple[bool, ...] | None) -> bytes:
        """A format for numbers: of bytes, which takes half as long as one of text."""
        wanted = lines if present is None else compress(lines, present)
        return encoded("".join([family + line for line in wanted]))

    def deflated(self, family: str, values: Values) -> tuple[Deflated, bytes | None]:
        """The same compressed, and the text too if it had to be made."""
        known = self._rendered.get(family)
        if known and known[0] == values:
            return known[1], None
        if family in self.fixed:  # rendered once: its format string is not worth keeping
            lines = self._info_lines() if family == INFO else self._lines
            text = self._template(family, lines, None) % values
        else:
            text = self.text(family, values)
        piece = deflate(text)
        self._rendered[family] = values, piece
        return piece, text

    def _info_lines(self) -> list[str]:
        columns = zip(self.peers, self._entries, self.expected, strict=True)
        return [_line(info_labels(self._interface, *column)) for column in columns]


def _line(pairs: dict[str, str]) -> str:
    """A series without its family name, as a format for its value."""
    return labels(pairs).replace("%", "%%") + " %d\n"


def info_labels(interface: str, peer: Peer, entry: Entry | None, expected: Expected) -> dict[str, str]:
    """Who a peer is. One without a name goes by its key, so that an alert can always say which."""
    return {
        "interface": interface,
        "public_key": peer.public_key,
        "peer": (entry.name if entry else "") or peer.public_key,
        "site": entry.site if entry else "",
        "role": entry.role if entry else "",
        "expected": expected,
        "criticality": entry.criticality if entry else "normal",
        "owner": entry.owner if entry else "",
    }


def arrange(
    blocks: Sequence[Block], peers: Sequence[Peer], build: Callable[[tuple[Peer, ...]], Block]
) -> list[Block]:
    """The blocks of a device's peers, keeping each one whose peers are still the same.

    Peers come and go one at a time: a block whose peers changed is built again from where it starts to
    where the next known block starts, and all others stay.
    """
    if len(blocks) > 8 + 4 * len(peers) // SIZE:  # many small ones are left after many removals
        blocks = ()
    starts = {block.keys[0]: block for block in blocks}
    arranged, at = [], 0
    while at < len(peers):
        block = starts.get(peers[at].public_key)
        if block and _still_there(block, starts, peers, at):
            part = tuple(peers[at : at + len(block.keys)])
            if part != block.peers:
                block.configure(part)
        else:
            end = at + 1
            while end < len(peers) and end - at < 2 * SIZE and peers[end].public_key not in starts:
                end += 1
            block = build(tuple(peers[at : end if end - at < 2 * SIZE else at + SIZE]))
        arranged.append(block)
        at += len(block.keys)
    return arranged


def _still_there(block: Block, starts: dict[str, Block], peers: Sequence[Peer], at: int) -> bool:
    end = at + len(block.keys)
    part = tuple(peers[at:end])
    if part != block.peers and [peer.public_key for peer in part] != block.keys:
        return False
    return end == len(peers) or len(block.keys) >= SIZE or peers[end].public_key in starts
