"""YAML as an operator's file is read: every mistake is an `InputError` that names line and key.

A file is composed from libyaml's events into small nodes that remember their line; what a scalar
means is decided by who asks for it. So `site: no` is the text "no" where a text is wanted, and no
tag ever makes an object. `Section` has one accessor per type; `finish()` refuses what nobody asked
for.

    root = load(Path("argus-wg.yml"))
    log = root.section("log")
    level = log.choice("level", ("info", "debug"), "info")
    log.finish()
    root.finish()
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

import yaml

from exporter.errors import InputError

T = TypeVar("T")
C = TypeVar("C", bound=str)
N = TypeVar("N", int, float)

MAX_BYTES = 1 << 20  # of a configuration file
MAX_DEPTH = 32
MAX_NODES = 20_000_000  # each alias counts as all that it stands for, so a bomb stops here
MAX_SECONDS = 10 * 365 * 86400.0

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "yes", "on"))
_FALSE = frozenset(("false", "no", "off"))
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)
_DURATION = re.compile(
    r"(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?", re.ASCII
)
_UNITS = (604800.0, 86400.0, 3600.0, 60.0, 1.0, 0.001)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 100,000 entries in seconds


class _Scalar:
    """A text; `plain` = written without quotes. `line` is where its key, or its list item, stands."""

    __slots__ = ("line", "plain", "text")

    def __init__(self, line: int, text: str, plain: bool) -> None:
        self.line = line
        self.text = text
        self.plain = plain


class _List:
    __slots__ = ("items", "line")

    def __init__(self, line: int, items: list[_Node]) -> None:
        self.line = line
        self.items = items


class _Map:
    __slots__ = ("entries", "line")

    def __init__(self, line: int, entries: dict[str, _Node]) -> None:
        self.line = line
        self.entries = entries


_Node = _Scalar | _List | _Map


def load(path: Path, max_bytes: int = MAX_BYTES) -> Section:
    """The top-level mapping of a YAML file; an empty file is an empty section."""
    return parse(read_text(path, max_bytes), str(path))


def parse(text: str, file: str) -> Section:
    """The top-level mapping of a YAML text; `file` is only for the errors."""
    try:
        node = _Composer(file, text).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        context = f" {error.context}" if error.context else ""
        raise InputError(file, line, "", f"this is not YAML: {error.problem}{context}") from None
    except yaml.YAMLError:
        match = _UNPRINTABLE.search(text)
        line = text.count("\n", 0, match.start()) + 1 if match else 0
        raise InputError(file, line, "", "an unprintable character; remove it") from None
    if isinstance(node, _Map):
        return Section(file, "", node)
    if isinstance(node, _Scalar) and _is_null(node):
        return Section(file, "", _Map(0, {}))
    raise InputError(file, node.line, "", "the file must be a mapping: lines of `key: value`")


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A regular UTF-8 file as text; whatever prevents that is an `InputError`."""
    data = read_bytes(path, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    # Raised here, not in the handler: a UnicodeDecodeError carries the whole file with it.
    raise InputError(str(path), line, "", "the text is not UTF-8; save the file in that encoding")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A regular file of at most `max_bytes`."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(str(path), 0, "", "this is not a regular file")
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise InputError(str(path), 0, "", "no such file; create it, or correct the path") from None
    except PermissionError:
        problem = f"user id {os.geteuid()} may not read it; grant read permission"
        raise InputError(str(path), 0, "", problem) from None
    except OSError as error:
        raise InputError(str(path), 0, "", f"it cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise InputError(str(path), 0, "", f"the file is larger than {max_bytes} bytes")
    return data


def duration(text: str) -> float | None:
    """Seconds in `300`, `0.5`, `5m`, `1h30m`, `250ms` (w d h m s ms, largest first); None = no duration."""
    if _NUMBER.fullmatch(text) and text[0] not in "+-":
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or not match:
        return None
    return sum(int(count[:16]) * unit for count, unit in zip(match.groups("0"), _UNITS, strict=True))


class _Composer:
    """libyaml's events → nodes: duplicates and tags refused, aliases shared and counted, texts interned."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self.anchors: dict[str, tuple[_Node, int]] = {}
        self.nodes = 0

    def document(self) -> _Node:
        """The only document of the stream; an empty stream is a null."""
        next(self.events)  # the start of the stream
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            return _Scalar(0, "", plain=True)
        event = next(self.events)
        node = self._node(event, _line(event), "", 0)
        next(self.events)  # the end of the document
        after = next(self.events)
        if isinstance(after, yaml.DocumentStartEvent):
            raise InputError(self.file, _line(after), "", "a second document begins here; one file holds one")
        return node

    def _node(self, event: Any, line: int, field: str, depth: int) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line, field)
        if event.tag is not None:
            raise InputError(self.file, line, field, f"tags are not understood; remove {event.tag}")
        before = self.nodes
        self._count(1, line, field)
        node: _Node
        if isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                raise InputError(self.file, line, field, "holds the character NUL; remove it")
            node = _Scalar(line, intern(event.value), not event.style)
        elif depth == MAX_DEPTH:
            raise InputError(self.file, line, field, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.MappingStartEvent):
            node = _Map(line, self._entries(field, depth + 1))
        else:
            node = _List(line, self._items(field, depth + 1))
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - before)
        return node

    def _entries(self, field: str, depth: int) -> dict[str, _Node]:
        entries: dict[str, _Node] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            line = _line(key)
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None or key.anchor is not None:
                raise InputError(self.file, line, field, "a key must be a plain text")
            name = intern(key.value)
            if name in entries:
                first = entries[name].line
                raise InputError(self.file, line, _join(field, name), f"written twice, first on line {first}")
            entries[name] = self._node(next(self.events), line, _join(field, name), depth)
        return entries

    def _items(self, field: str, depth: int) -> list[_Node]:
        items: list[_Node] = []
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(item, _line(item), f"{field}[{len(items)}]", depth))
        return items

    def _alias(self, anchor: str, line: int, field: str) -> _Node:
        if anchor not in self.anchors:
            raise InputError(
                self.file, line, field, f"*{anchor} stands for nothing; write &{anchor} before it"
            )
        node, size = self.anchors[anchor]
        self._count(size, line, field)
        return node

    def _count(self, nodes: int, line: int, field: str) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise InputError(self.file, line, field, f"more than {MAX_NODES} values, aliases written out")


class Section:
    """A mapping of the file. An accessor gives the value of a key, or its default where it is not written.

    `field` is the dotted key of the section, `line` where it begins (0 = it is not written).
    A key with nothing behind it is an error where a scalar is wanted, otherwise an empty section or list.
    """

    __slots__ = ("_asked", "_entries", "field", "file", "line")

    def __init__(self, file: str, field: str, node: _Map) -> None:
        self.file = file
        self.field = field
        self.line = node.line
        self._entries = node.entries
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> tuple[str, ...]:
        """The keys as they are written: for mappings whose keys are data, such as names."""
        return tuple(self._entries)

    @property
    def base(self) -> Path:
        """The directory of the file, where relative paths start."""
        return Path(self.file).parent

    def error(self, key: str, problem: str, remedy: str = "") -> InputError:
        """An error to raise: at the line of `key`, or of the section where `key` is not written."""
        line = self.line_of(key) or self.line
        return InputError(self.file, line, _join(self.field, key), problem, remedy)

    def line_of(self, key: str) -> int:
        """The line of a key, counted from 1; 0 = the key is not written."""
        return self._entries[key].line if key in self._entries else 0

    def finish(self) -> None:
        """Refuses every key that no accessor asked for, with the nearest key that one did ask for."""
        for key in self._entries:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                known = ", ".join(sorted(self._asked)) or "none"
                hint = f'did you mean "{near[0]}"?' if near else f"known keys: {known}"
                raise self.error(key, f"unknown key; {hint}")

    def string(self, key: str, default: T) -> str | T:
        """A text, exactly as it is written: `12` and `no` are texts here."""
        node = self._scalar(key, "a text")
        return default if node is None else node.text

    def choice(self, key: str, choices: Sequence[C], default: T) -> C | T:
        """One of a few words."""
        node = self._scalar(key, f"one of {', '.join(choices)}")
        if node is None:
            return default
        for choice in choices:
            if choice == node.text:
                return choice
        near = difflib.get_close_matches(node.text, choices, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise self.error(key, f"must be one of {', '.join(choices)}{hint}")

    def boolean(self, key: str, default: T) -> bool | T:
        """true or false; yes, no, on and off as well, which other programs accept in the same files."""
        node = self._scalar(key, "true or false")
        if node is None:
            return default
        word = node.text.lower() if node.plain else ""
        if word not in _TRUE and word not in _FALSE:
            raise self.error(key, "must be true or false, without quotes")
        return word in _TRUE

    def integer(self, key: str, default: T, minimum: int, maximum: int) -> int | T:
        """A decimal integer within bounds, both included."""
        node = self._scalar(key, "an integer")
        if node is None:
            return default
        if not node.plain or len(node.text) > 20 or not _INTEGER.fullmatch(node.text):
            raise self.error(key, "must be a decimal integer, without quotes")
        return self._bounded(key, int(node.text), minimum, maximum, "")

    def number(self, key: str, default: T, minimum: float, maximum: float) -> float | T:
        """A decimal number such as `-3.5`, within bounds, both included."""
        node = self._scalar(key, "a number")
        if node is None:
            return default
        if not node.plain or not _NUMBER.fullmatch(node.text):
            raise self.error(key, "must be a decimal number such as 47.3, without quotes")
        return self._bounded(key, float(node.text), minimum, maximum, "")

    def seconds(self, key: str, default: T, minimum: float = 0, maximum: float = MAX_SECONDS) -> float | T:
        """A duration in seconds, written as `duration` understands it."""
        node = self._scalar(key, "a duration")
        if node is None:
            return default
        value = duration(node.text)
        if value is None:
            raise self.error(key, "must be a duration such as 30s, 5m, 1h30m, or a number of seconds")
        return self._bounded(key, value, minimum, maximum, " s")

    def path(self, key: str, default: T) -> Path | T:
        """A path; a relative one starts at the directory of the file."""
        node = self._scalar(key, "a path")
        if node is None:
            return default
        if not node.text:
            raise self.error(key, "is empty; write a path, or leave the key out")
        return self.base / node.text

    def strings(self, key: str, default: Iterable[str] = ()) -> tuple[str, ...]:
        """A list of texts; a single text stands for a list of one."""
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None:
            return tuple(default)
        if isinstance(node, _Scalar):
            return () if _is_null(node) else (node.text,)
        if isinstance(node, _Map):
            raise self.error(key, "must be a list: lines of `- text`, or [text, text]")
        return tuple(self._item(key, item) for item in node.items)

    def section(self, key: str) -> Section:
        """A nested mapping; empty where the key is not written."""
        self._asked.add(key)
        return Section(self.file, _join(self.field, key), self._map(key, self._entries.get(key)))

    def sections(self, key: str) -> tuple[Section, ...]:
        """A list of mappings; empty where the key is not written."""
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None or (isinstance(node, _Scalar) and _is_null(node)):
            return ()
        if not isinstance(node, _List):
            raise self.error(key, "must be a list of mappings, each beginning with `- `")
        maps = [self._map(key, item) for item in node.items]
        field = _join(self.field, key)
        return tuple(Section(self.file, f"{field}[{i}]", item) for i, item in enumerate(maps))

    def _scalar(self, key: str, wanted: str) -> _Scalar | None:
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None:
            return None
        if not isinstance(node, _Scalar):
            found = "a list" if isinstance(node, _List) else "a mapping"
            raise self.error(key, f"must be {wanted}, not {found}")
        if _is_null(node):
            raise self.error(key, f"is empty; write {wanted}, or leave the key out")
        return node

    def _bounded(self, key: str, value: N, minimum: N, maximum: N, unit: str) -> N:
        if not minimum <= value <= maximum:
            raise self.error(key, f"must be between {minimum:.15g} and {maximum:.15g}{unit}")
        return value

    def _item(self, key: str, node: _Node) -> str:
        if isinstance(node, _Scalar) and not _is_null(node):
            return node.text
        raise InputError(self.file, node.line, _join(self.field, key), "every item must be a text")

    def _map(self, key: str, node: _Node | None) -> _Map:
        if isinstance(node, _Map):
            return node
        if node is None or (isinstance(node, _Scalar) and _is_null(node)):
            return _Map(node.line if node else 0, {})
        problem = "must be a mapping: indented lines of `key: value`"
        raise InputError(self.file, node.line, _join(self.field, key), problem)


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _is_null(node: _Scalar) -> bool:
    return node.plain and node.text in _NULL


def _join(field: str, key: str) -> str:
    return f"{field}.{key}" if field and key else field or key
