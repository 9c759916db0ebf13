"""A YAML text as nodes with their line numbers.

Nodes are composed from libyaml's events. A scalar stays text until a caller decides its type, so `site: no`
is the text "no" where a text is wanted. Duplicate keys and tags are errors, so no tag can create an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from sys import intern
from typing import Any

import yaml

from exporter.errors import InputError

MAX_DEPTH = 32
MAX_NODES = 20_000_000  # an alias counts as all the nodes that it stands for

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 100,000 entries in seconds


class Scalar:
    """A text; `plain` = written without quotes. `line` is the line of its key or list item, from 1."""

    __slots__ = ("line", "plain", "text")

    def __init__(self, line: int, text: str, plain: bool) -> None:
        self.line = line
        self.text = text
        self.plain = plain


class List:
    """A sequence; `line` as for a `Scalar`."""

    __slots__ = ("items", "line")

    def __init__(self, line: int, items: list[Node]) -> None:
        self.line = line
        self.items = items


class Map:
    """A mapping; `line` as for a `Scalar`."""

    __slots__ = ("entries", "line")

    def __init__(self, line: int, entries: dict[str, Node]) -> None:
        self.line = line
        self.entries = entries


Node = Scalar | List | Map


def compose(text: str, file: str) -> Node:
    """The only document of a YAML text; a null for an empty text. `file` is for the errors (`InputError`)."""
    try:
        return _Composer(file, text).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        context = f" {error.context}" if error.context else ""
        raise InputError(file, line, "", f"this is not YAML: {error.problem}{context}") from None
    except yaml.YAMLError:
        match = _UNPRINTABLE.search(text)
        line = text.count("\n", 0, match.start()) + 1 if match else 0
        raise InputError(file, line, "", "an unprintable character", "remove it") from None


def is_null(node: Node) -> bool:
    """Whether a node is written as nothing, `~` or `null`."""
    return isinstance(node, Scalar) and node.plain and node.text in _NULL


def join(field: str, key: str) -> str:
    """`("log", "level")` → `"log.level"`; an empty part is left out."""
    return f"{field}.{key}" if field and key else field or key


class _Composer:
    """libyaml's events → nodes. An alias shares the node of its anchor, and counts as all of its nodes."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.nodes = 0

    def document(self) -> Node:
        """The only document of the stream; a null for an empty stream."""
        next(self.events)  # the start of the stream
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            return Scalar(0, "", plain=True)
        event = next(self.events)
        node = self._node(event, _line(event), "", 0)
        next(self.events)  # the end of the document
        after = next(self.events)
        if isinstance(after, yaml.DocumentStartEvent):
            raise InputError(
                self.file,
                _line(after),
                "",
                "a second document begins here",
                "remove it: a file holds one document",
            )
        return node

    def _node(self, event: Any, line: int, field: str, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), line, field)
        if event.tag is not None:
            raise InputError(self.file, line, field, "tags are not understood", f"remove {event.tag}")
        before = self.nodes
        self._count(1, line, field)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                raise InputError(self.file, line, field, "holds the character NUL", "remove it")
            node = Scalar(line, intern(event.value), not event.style)
        elif depth == MAX_DEPTH:
            raise InputError(self.file, line, field, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.MappingStartEvent):
            node = Map(line, self._entries(field, depth + 1))
        else:
            node = List(line, self._items(field, depth + 1))
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, self.nodes - before)
        return node

    def _entries(self, field: str, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            line = _line(key)
            if not isinstance(key, yaml.ScalarEvent) or key.tag is not None or key.anchor is not None:
                raise InputError(self.file, line, field, "a key must be a plain text")
            name = intern(key.value)
            if name in entries:
                first = entries[name].line
                raise InputError(self.file, line, join(field, name), f"written twice, first on line {first}")
            entries[name] = self._node(next(self.events), line, join(field, name), depth)
        return entries

    def _items(self, field: str, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(item, _line(item), f"{field}[{len(items)}]", depth))
        return items

    def _alias(self, anchor: str, line: int, field: str) -> Node:
        if anchor not in self.anchors:
            raise InputError(
                self.file, line, field, f"the alias *{anchor} has no anchor", f"write &{anchor} before it"
            )
        node, size = self.anchors[anchor]
        self._count(size, line, field)
        return node

    def _count(self, nodes: int, line: int, field: str) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise InputError(self.file, line, field, f"more than {MAX_NODES} values, aliases written out")


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
