"""Reads the names of peers from the comments of a WireGuard configuration file, and nothing else of it.

Both formats are read: `[Peer]` of wg-quick, and `[WireGuardPeer]` of systemd-networkd. A comment belongs to

1. the peer in whose section it is, or
2. the next peer, if it is in the lines right above `[Peer]`, without an empty line in between.

The second rule is ambiguous for a friendly tag that is the last line of a section right above the next
`[Peer]`. Such a tag names the next peer, unless a peer of the file would then have two tags: in that case
every such tag of the file names the peer above it. A commented-out `#[Peer]` ends a section, and its comments
name nothing.

Of several comments, a friendly tag wins over a marker of a tool, and a marker over a plain comment; see
comment.py.

The file contains private keys. It is read into one buffer that is overwritten afterwards, and only comments
without a key and the values of `PublicKey` are copied out of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.directory.comment import MARKER, PLAIN, TAG, Remark, WrongTag, judge, tag_of
from exporter.directory.publickey import is_public_key
from exporter.errors import InputError
from exporter.input.inputfile import read_into_buffer

MAX_BYTES = 256 << 20  # 1,000,000 peers

# What a line is, by its first characters: most lines are not looked at further.
_LINE = re.compile(
    rb"^[ \t]*(?:(?P<comment>#)|(?P<header>\[)|(?P<key>publickey[ \t]*=)|(?P<name>name[ \t]*=)"
    rb"|(?P<empty>\r?$)|.)",
    re.IGNORECASE | re.MULTILINE,
)
_HEADER = re.compile(rb"[ \t]*\[[ \t]*(\w+)[ \t]*\][ \t]*(?:#(.*))?")
_OFF_HEADER = re.compile(rb"[ \t]*#[# \t]*\[[ \t]*(?:wireguard)?peer[ \t]*\]", re.IGNORECASE)
_SECRET = re.compile(rb"(?:private|preshared)[ _-]*key|[A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64}", re.IGNORECASE)
_TAG = re.compile(rb"[ \t#]*friendly_(?:name|json)[ \t]*=", re.IGNORECASE)
_KEY = re.compile(rb"[A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64}")
_EMPTY_BRACKETS = re.compile(r"\s*[(\[<{]\s*[)\]>}]")


@dataclass(frozen=True, slots=True)
class Naming:
    """The name of one peer, from its comments; `extra` has the labels of a friendly_json, sorted.

    `how` says which comment gave the name: `friendly_name`, `pivpn`, `comment above [Peer]` …
    """

    public_key: str
    name: str
    extra: tuple[tuple[str, str], ...] = ()
    how: str = ""


@dataclass(frozen=True, slots=True)
class NamesFile:
    """The result for one file: the interface that it configures, its peers, their names, and what is
    wrong."""

    path: Path
    interface: str  # the file's name without its ending; of systemd-networkd, `Name=` of [NetDev]
    peers: int  # sections of peers that are not commented out
    namings: tuple[Naming, ...]
    problems: tuple[InputError, ...]


@dataclass(slots=True)
class _Section:
    """A section of the file, or a commented-out peer (`kind` "off")."""

    kind: str
    line: int
    public_key: str = ""
    public_key_line: int = 0
    above: list[Remark] = field(default_factory=list)
    inside: list[Remark] = field(default_factory=list)
    attached: bool = False  # the comments above follow the previous section without an empty line


def read(path: Path, *, emails: bool = False) -> NamesFile:
    """The named peers of a file, in order. A mistake in the file costs only the name of its peer.

    Raises `InputError` if the file cannot be read. `emails`: plain e-mail addresses are names.
    """
    buffer = read_into_buffer(path, MAX_BYTES)
    try:
        return _Reader(path, buffer, emails).read()
    finally:
        buffer[:] = bytes(len(buffer))


class _Reader:
    """Reads one file line by line, then decides which comment names which peer."""

    def __init__(self, path: Path, buffer: bytearray, emails: bool) -> None:
        self._path = path
        self._buffer = buffer
        self._emails = emails
        self._interface = path.stem
        self._problems: list[InputError] = []
        self._sections = [_Section("top", 0)]
        self._pending: list[Remark] = []  # of the comment lines right above the current line
        self._attached = False
        self._follows_text = False  # the line before the pending comments is not empty

    def read(self) -> NamesFile:
        for number, line in enumerate(_LINE.finditer(self._buffer), 1):
            self._line(number, line)
        self._flush()
        peers = [section for section in self._sections if section.kind == "peer"]
        self._settle_tags(peers)
        namings = tuple(naming for peer in peers if (naming := self._naming(peer)))
        return NamesFile(self._path, self._interface, len(peers), namings, tuple(self._problems))

    def _end_of_line(self, start: int) -> int:
        end = self._buffer.find(b"\n", start)
        return len(self._buffer) if end < 0 else end

    def _line(self, number: int, line: re.Match[bytes]) -> None:
        match line.lastgroup:
            case "comment":
                self._comment(number, line.start(), self._end_of_line(line.end()))
            case "header":
                header = _HEADER.match(self._buffer, line.start(), self._end_of_line(line.end()))
                if header:
                    self._header(number, header)
            case "empty":
                self._flush()
                self._follows_text = False
            case kind:
                self._flush()
                self._follows_text = True
                if kind:
                    self._setting(kind, number, line.end())

    def _header(self, number: int, header: re.Match[bytes]) -> None:
        kind = bytes(header[1]).decode(errors="replace").lower()
        section = _Section({"wireguardpeer": "peer"}.get(kind, kind), number)
        section.above, section.attached = self._pending, self._attached and self._follows_text
        self._pending, self._attached, self._follows_text = [], False, True
        self._sections.append(section)
        if header.start(2) >= 0 and section.kind == "peer":  # not header[2], which copies a comment
            self._remark(number, header.start(2), header.end(2), section.inside)

    def _comment(self, number: int, start: int, end: int) -> None:
        if _OFF_HEADER.match(self._buffer, start, end):
            if self._attached and self._follows_text:
                self._flush()
            self._pending, self._attached, self._follows_text = [], False, True
            self._sections.append(_Section("off", number))
            return
        if not self._pending:
            self._attached = True
        if _SECRET.search(self._buffer, start, end) and not _TAG.match(self._buffer, start, end):
            if self._sections[-1].kind == "off":
                self._pending = []
            return
        self._remark(number, start, end, self._pending)

    def _setting(self, kind: str, number: int, start: int) -> None:
        section = self._sections[-1]
        if (kind, section.kind) not in (("key", "peer"), ("name", "netdev")):
            return
        end = self._end_of_line(start)
        value = bytes(self._buffer[start:end]).partition(b"#")[0].decode(errors="replace").strip()
        if kind == "key":
            section.public_key, section.public_key_line = value, number
        else:
            self._interface = value or self._interface

    def _remark(self, number: int, start: int, end: int, remarks: list[Remark]) -> None:
        """Adds what a comment says to `remarks`. Keys in a friendly tag are left out: it is published."""
        pieces, at = [], start
        for key in _KEY.finditer(self._buffer, start, end):
            pieces.append(bytes(self._buffer[at : key.start()]))
            at = key.end()
        raw = b"".join([*pieces, bytes(self._buffer[at:end])])
        try:
            comment = raw.decode().strip(" \t#")
        except UnicodeDecodeError:
            tag = tag_of(raw.decode(errors="replace").strip(" \t#"))
            if tag:
                self._wrong_tag(number, tag, "is not UTF-8 text", "save the file in that encoding")
            return
        if pieces:
            comment = _EMPTY_BRACKETS.sub("", comment).strip()
        try:
            remark = judge(comment, emails=self._emails)
        except WrongTag as error:
            self._wrong_tag(number, error.field, str(error))
            return
        if remark:
            remarks.append(remark)
        elif pieces and (tag := tag_of(comment)):
            self._wrong_tag(number, tag, "is only a key", "write a name: it is published")

    def _flush(self) -> None:
        """Ends a block of comments that is not right above a section: it belongs to the current section."""
        if self._sections[-1].kind == "peer":
            self._sections[-1].inside += self._pending
        self._pending, self._attached = [], False

    def _settle_tags(self, peers: Sequence[_Section]) -> None:
        """Moves tags that are right above a section to the previous peer, if a peer would have two
        otherwise."""
        if not any(peer.attached and _tags(peer.above) and _tags(peer.inside) for peer in peers):
            return
        for before, peer in zip(self._sections, self._sections[1:], strict=False):
            if peer.attached and before.kind == "peer":
                before.inside += _tags(peer.above)
                peer.above = [remark for remark in peer.above if remark.rank != TAG]

    def _naming(self, peer: _Section) -> Naming | None:
        name, how = "", ""
        for remark, where in _by_precedence(peer):
            if remark.name:
                name, how = remark.name, remark.how if remark.rank != PLAIN else f"comment {where} [Peer]"
                break
        extra = next((tag.extra for tag in reversed(_tags(peer.above) + _tags(peer.inside)) if tag.extra), ())
        if not peer.public_key:
            return None
        if not is_public_key(peer.public_key):
            problem = "must be the base64 of 32 bytes, 44 characters, as `wg pubkey` prints it"
            self._wrong(peer.public_key_line, "PublicKey", problem)
            return None
        if not (name or extra):
            return None
        return Naming(peer.public_key, name, extra, how or "friendly_json")

    def _wrong_tag(self, line: int, tag: str, detail: str, remedy: str = "") -> None:
        """Notes a wrong friendly tag, except in a peer that is commented out."""
        if self._sections[-1].kind != "off":
            self._wrong(line, tag, detail, remedy)

    def _wrong(self, line: int, tag: str, detail: str, remedy: str = "") -> None:
        self._problems.append(InputError(str(self._path), line, tag, detail, remedy))


def _tags(remarks: list[Remark]) -> list[Remark]:
    return [remark for remark in remarks if remark.rank == TAG]


def _by_precedence(peer: _Section) -> list[tuple[Remark, str]]:
    """The remarks of a peer, the one that counts first.

    Of tags and markers, those inside the section win, and the last of several. Of plain comments, the line
    right above the section wins, then the first one inside.
    """
    inside = [(remark, "inside") for remark in peer.inside]
    above = [(remark, "above") for remark in peer.above]
    marked = [*reversed(inside), *reversed(above)]
    plain = [*reversed(above), *inside]
    found = [pair for rank in (TAG, MARKER) for pair in marked if pair[0].rank == rank]
    return found + [pair for pair in plain if pair[0].rank == PLAIN]
