"""The families about peers whose values follow from their configuration and their directory entries.

Peers are kept in blocks between readings, so that nothing is gathered again for an unchanged peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from exporter.directory.entry import Directory, Entry
from exporter.expectation import expected_of, window_of
from exporter.liveness import Expected
from exporter.metrics.declarations.content import Block
from exporter.metrics.declarations.peers import ALLOWED_IPS, KEEPALIVE, STALE_AFTER
from exporter.model import Peer

SIZE = 256  # peers; the text of a block stays below the size from which malloc calls mmap each time


class KeptBlock:
    """Consecutive peers of one interface, with the values that follow from configuration and directory.

    `block` is for the page. `expected` and `windows` have a value per peer. `unknown` has the public keys
    without a directory entry, if any directory file lists peers.
    """

    block: Block
    expected: tuple[Expected, ...] = ()
    windows: tuple[int, ...] = ()  # seconds

    def __init__(self, label: str, peers: tuple[Peer, ...], directory: Directory) -> None:
        self.keys = tuple([peer.public_key for peer in peers])
        self._entries = list(map(directory.on(label), self.keys))
        pairs = zip(self.keys, self._entries, strict=True)
        self.unknown = [key for key, entry in pairs if entry is None] if directory.lists_peers else []
        self._description: Mapping[str, tuple[str, ...]] = {}
        self._counted: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self.configure(peers)

    def configure(self, peers: tuple[Peer, ...]) -> None:
        """Takes another configuration of the same peers: an endpoint, a keepalive, allowed IPs."""
        self.peers = peers
        keepalives = tuple([peer.persistent_keepalive for peer in peers])
        prefixes = tuple([len(peer.allowed_ips) for peer in peers])
        if (keepalives, prefixes) == self._counted:
            return  # no series has the endpoint
        self._counted = keepalives, prefixes
        pairs = list(zip(peers, self._entries, strict=True))
        self.windows = tuple([window_of(peer, entry) for peer, entry in pairs])
        expected = tuple([expected_of(peer, entry) for peer, entry in pairs])
        if expected != self.expected:
            self.expected = expected
            self._description = describe(self.keys, self._entries, expected)
        columns = {STALE_AFTER: self.windows, KEEPALIVE: keepalives, ALLOWED_IPS: prefixes}
        self.block = Block(self.keys, self._description, columns)


def describe(
    keys: tuple[str, ...], entries: Sequence[Entry | None], expected: tuple[Expected, ...]
) -> Mapping[str, tuple[str, ...]]:
    """The labels of `wireguard_peer_info` from the directory: label → a value per peer.

    A peer without a name is named by its key, so that an alert can always name the peer. If no peer has an
    entry, labels share their columns, so that a gateway without a directory needs little memory.
    """
    if any(entries):
        known = [entry or Entry(key) for key, entry in zip(keys, entries, strict=True)]
        names = tuple([entry.name or entry.public_key for entry in known])
        sites = tuple([entry.site for entry in known])
        roles = tuple([entry.role for entry in known])
        criticalities: tuple[str, ...] = tuple([entry.criticality for entry in known])
        owners = tuple([entry.owner for entry in known])
    else:
        names, criticalities = keys, (Entry("").criticality,) * len(keys)
        sites = roles = owners = ("",) * len(keys)
    return {
        "peer": names,
        "site": sites,
        "role": roles,
        "expected": expected,
        "criticality": criticalities,
        "owner": owners,
    }


@dataclass(slots=True)
class KeptBlocks:
    """The blocks of one interface, kept between readings."""

    label: str
    peers: Sequence[Peer] = ()
    generation: int = -1  # of the directory
    blocks: list[KeptBlock] = field(default_factory=list)

    def update(self, peers: Sequence[Peer], directory: Directory, generation: int) -> None:
        """Brings the blocks up to date. After a reload of the directory, all are made again."""
        if generation == self.generation and peers == self.peers:
            return
        kept = self.blocks if generation == self.generation else []
        self.blocks = arrange(kept, peers, lambda part: KeptBlock(self.label, part, directory))
        self.peers, self.generation = peers, generation


def arrange(
    blocks: Sequence[KeptBlock], peers: Sequence[Peer], build: Callable[[tuple[Peer, ...]], KeptBlock]
) -> list[KeptBlock]:
    """The blocks of an interface's peers; each block whose peers are still the same is kept.

    Peers come and go one at a time. A block whose peers changed is built again, from its first peer up to
    the first peer of the next known block. All other blocks stay.
    """
    if len(blocks) > 8 + 4 * len(peers) // SIZE:  # removals have left many small blocks
        blocks = ()
    starts = {block.keys[0]: block for block in blocks}
    arranged, at = [], 0
    while at < len(peers):
        block = starts.get(peers[at].public_key)
        if block and _is_unchanged(block, starts, peers, at):
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


def _is_unchanged(block: KeptBlock, starts: Mapping[str, KeptBlock], peers: Sequence[Peer], at: int) -> bool:
    """Whether the peers from `at` on are those of the block, and the block need not take up more peers."""
    end = at + len(block.keys)
    part = tuple(peers[at:end])
    if part != block.peers and tuple([peer.public_key for peer in part]) != block.keys:
        return False
    return end == len(peers) or len(block.keys) >= SIZE or peers[end].public_key in starts
