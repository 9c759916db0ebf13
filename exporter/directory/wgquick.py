"""Reads names of peers from the comments of wg-quick files. Nothing else of these files is kept.

Three ways of naming are read, in this order of precedence:

    [Peer]
    # friendly_name = laptop                       inside the section
    # friendly_json = {"site": "berlin", "n": 1}   inside the section; each key becomes a label
    PublicKey = …

    # laptop                                       right above the section; `Client: laptop (id)` too
    [Peer]

The first two are defined by prometheus_wireguard_exporter (its README, "Friendly tags"). The last is common
in hand-written files and written by wg-easy. The files contain private keys: only comments and `PublicKey`
lines are decoded, and no comment that may contain a key becomes a name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exporter.directory.publickey import is_public_key
from exporter.errors import InputError
from exporter.input.inputfile import read_bytes

MAX_BYTES = 256 << 20  # 1,000,000 peers

_RELEVANT = re.compile(rb"\s*(?:#|\[|publickey\s*=)", re.IGNORECASE)
_FRIENDLY = re.compile(r"(friendly_name|friendly_json)\s*=\s*(.*)", re.IGNORECASE)
_SETTING = re.compile(r"\w+\s*=")  # a setting that was commented out
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64}")
_WG_EASY = re.compile(r"Client: (.*) \([0-9a-f-]+\)")
_LABEL = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TAKEN = frozenset(("interface", "public_key", "allowed_ips", "remote_ip", "remote_port"))


@dataclass(frozen=True, slots=True)
class Naming:
    """The name of one `[Peer]`, from its comments; `extra` has the keys of friendly_json, sorted."""

    public_key: str
    name: str
    extra: tuple[tuple[str, str], ...] = ()


def read(path: Path) -> list[Naming]:
    """The named peers of a file, in order. Raises `InputError`: unreadable, or a friendly tag is wrong."""
    reader = _Reader(str(path))
    for number, line in enumerate(read_bytes(path, MAX_BYTES).splitlines(), 1):
        reader.line(number, line)
    reader.close()
    return reader.namings


class _Reader:
    """Reads one file line by line. A peer is complete when the next section begins."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.namings: list[Naming] = []
        self.above = ""  # the comment on the line before
        self.begin("", "")

    def begin(self, section: str, comment: str) -> None:
        self.section = section
        self.comment = comment
        self.name = ""
        self.extra: tuple[tuple[str, str], ...] = ()
        self.public_key = ""
        self.public_key_line = 0

    def line(self, number: int, raw: bytes) -> None:
        above, self.above = self.above, ""
        if not _RELEVANT.match(raw):
            return
        text = raw.decode(errors="replace").strip()
        if text.startswith("#"):
            self.above = self.remark(number, text.lstrip("#").strip())
        elif text.startswith("["):
            self.close()
            self.begin(text.partition("#")[0].strip("[] \t").lower(), above)
        else:
            self.public_key = text.partition("=")[2].partition("#")[0].strip()
            self.public_key_line = number

    def remark(self, number: int, comment: str) -> str:
        """Reads a friendly tag. Returns a comment that may be the name of the peer below it, or ""."""
        tag = _FRIENDLY.fullmatch(comment)
        unfit = _KEY.search(comment) or "\N{REPLACEMENT CHARACTER}" in comment
        if not tag:
            return "" if unfit or _SETTING.match(comment) else comment
        if self.section == "peer":
            if unfit:
                problem = "must be UTF-8 text without a key: it is published"
                raise InputError(self.file, number, tag[1], problem)
            if tag[1].lower() == "friendly_name":
                self.name = tag[2]
            else:
                self.name, self.extra = self.json(number, tag[2])
        return ""

    def json(self, number: int, text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Reads a friendly_json: (its `friendly_name`, or the name so far; the labels, sorted)."""
        labels: dict[str, str] = {}
        for key, value in self.pairs(number, text):
            if not _LABEL.fullmatch(key) or key.startswith("__") or key in _TAKEN:
                problem = (
                    f"{key!r} cannot be a label; use letters, digits and _, and none of {sorted(_TAKEN)}"
                )
                raise InputError(self.file, number, "friendly_json", problem)
            if key in labels:
                raise InputError(self.file, number, f"friendly_json.{key}", "written twice")
            if not isinstance(value, str | bool):
                problem = "must be a text, a number, true or false"
                raise InputError(self.file, number, f"friendly_json.{key}", problem)
            text_value = value if isinstance(value, str) else str(value).lower()
            labels[key] = text_value.encode("utf-8", "replace").decode()  # JSON can spell half a character
        return labels.pop("friendly_name", self.name), tuple(sorted(labels.items()))

    def pairs(self, number: int, text: str) -> Iterator[tuple[str, object]]:
        """The members of a JSON object, duplicates included, with numbers as text."""
        problem = ""
        try:
            pairs = json.loads(
                text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str
            )
        except json.JSONDecodeError as error:
            problem = f"must be one JSON object on one line: {error.msg} at character {error.pos + 1}"
        except RecursionError:
            problem = "must be one JSON object of texts and numbers"
        if not problem and not isinstance(pairs, _Pairs):
            problem = 'must be a JSON object, such as {"site": "berlin"}'
        if problem:
            raise InputError(self.file, number, "friendly_json", problem)
        yield from pairs

    def close(self) -> None:
        """Ends the section. A peer with a name and a key is kept."""
        name = self.name or self.comment
        if easy := _WG_EASY.fullmatch(name):
            name = easy[1]
        if self.section != "peer" or not self.public_key or not (name or self.extra):
            return
        if not is_public_key(self.public_key):
            problem = "must be the base64 of 32 bytes, 44 characters, as `wg pubkey` prints it"
            raise InputError(self.file, self.public_key_line, "PublicKey", problem)
        self.namings.append(Naming(self.public_key, name, self.extra))


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object; its type distinguishes it from a JSON array."""
