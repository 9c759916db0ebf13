"""The text of peers, in blocks of consecutive peers. The labels of a block are rendered once.

A line is `name{interface="wg0",public_key="…"} 123`. Only its number changes, so a block keeps the lines of
a family as one format string, and renders them with a single `%`. The last text is kept compressed, and is
used again while none of its numbers changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress

from exporter.metrics.declarations.content import Block, InterfacePeers, Values
from exporter.metrics.declarations.family import Family
from exporter.metrics.rendering.deflate import Deflated, Joined, deflate, inflate, join
from exporter.metrics.rendering.text import encoded, labels


class BlockText:
    """The text of a block of peers, kept between scrapes."""

    def __init__(self, interface: str, keys: tuple[str, ...]) -> None:
        self.keys = keys  # held, so that no other tuple gets its identity
        self._interface = interface
        self._lines = [_line({"interface": interface, "public_key": key}) for key in keys]
        self._templates: dict[Family, tuple[tuple[bool, ...] | None, bytes]] = {}
        self._deflated: dict[Family, tuple[object, Deflated]] = {}  # with the values in the text

    def text(self, family: Family, block: Block, values: Values | None) -> bytes:
        """The lines of one family. `values`: its changing numbers; None = its values are in the block."""
        return (
            inflate(self.deflated(family, block, None)[0])
            if values is None
            else self._changing(family, values)
        )

    def deflated(self, family: Family, block: Block, values: Values | None) -> tuple[Deflated, bytes | None]:
        """The same lines, compressed; also as text if they were rendered now."""
        shown = block.columns.get(family, block.description) if values is None else values
        known = self._deflated.get(family)
        if known and known[0] == shown:
            return known[1], None
        text = self._fixed(family, block) if values is None else self._changing(family, values)
        piece = deflate(text)
        self._deflated[family] = shown, piece
        return piece, text

    def _changing(self, family: Family, values: Values) -> bytes:
        """Lines whose numbers change with each reading; a peer without a number has no line."""
        present = None
        if None in values:
            present = tuple([value is not None for value in values])
            values = tuple([value for value in values if value is not None])
        known = self._templates.get(family)
        if not known or known[0] != present:
            lines = self._lines if present is None else compress(self._lines, present)
            known = present, _template(family, lines)
            self._templates[family] = known
        return known[1] % values

    def _fixed(self, family: Family, block: Block) -> bytes:
        """Lines that change only with the configuration, so their format string is not kept."""
        if family in block.columns:
            return _template(family, self._lines) % block.columns[family]
        return _template(family, self._described(block)) % ((1,) * len(block.keys))

    def _described(self, block: Block) -> Iterator[str]:
        for key, *row in zip(block.keys, *block.description.values(), strict=True):
            description = dict(zip(block.description, row, strict=True))
            yield _line({"interface": self._interface, "public_key": key, **description})


def _template(family: Family, lines: Iterable[str]) -> bytes:
    """A format string for numbers. As bytes, it takes half as long as a `str`."""
    return encoded("".join([family.name + line for line in lines]))


def _line(pairs: Mapping[str, str]) -> str:
    """A series without its family name, as a format for its value."""
    return labels(pairs).replace("%", "%%") + " %d\n"


class InterfaceText:
    """The text of an interface's peers, kept between scrapes."""

    def __init__(self, interface: str) -> None:
        self._interface = interface
        # By the identity of a block's tuple of keys. Hashing the keys would take a tenth of a page's time.
        self._blocks: dict[int, BlockText] = {}
        self._joined: dict[Family, Joined] = {}

    def update(self, peers: InterfacePeers) -> None:
        """Takes the blocks of a page, before `lines` and `joined`. Frees the text of removed blocks."""
        self._blocks = {
            id(block.keys): self._blocks.get(id(block.keys)) or BlockText(self._interface, block.keys)
            for block in peers.blocks
        }

    def lines(self, family: Family, peers: InterfacePeers) -> Iterator[bytes]:
        """The lines of one family, block by block."""
        return (text.text(family, block, values) for text, block, values in self._parts(family, peers))

    def joined(self, family: Family, peers: InterfacePeers) -> Joined:
        """The same lines, compressed."""
        pieces = (text.deflated(family, block, values) for text, block, values in self._parts(family, peers))
        self._joined[family] = run = join(pieces, self._joined.get(family))
        return run

    def _parts(
        self, family: Family, peers: InterfacePeers
    ) -> Iterator[tuple[BlockText, Block, Values | None]]:
        """Each block with its text and its slice of the family's column, if the column changes."""
        column = peers.columns.get(family)
        at = 0
        for text, block in zip(self._blocks.values(), peers.blocks, strict=True):
            end = at + len(block.keys)
            yield text, block, None if column is None else tuple(column[at:end])
            at = end
