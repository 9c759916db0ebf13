"""A YAML file that an operator wrote: every mistake is an `InputError` with file, line and key.

`Section` is a mapping of the file and has one accessor per type; `finish()` refuses keys that no accessor
asked for.

    root = load(Path("argus-wg.yml"))
    log = root.section("log")
    level = log.choice("level", ("info", "debug"), "info")
    log.finish()
    root.finish()
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from exporter.errors import InputError
from exporter.input.duration import duration
from exporter.input.inputfile import MAX_BYTES, read_text
from exporter.input.yamlnodes import List, Map, Node, Scalar, compose, is_null, join

T = TypeVar("T")
C = TypeVar("C", bound=str)
N = TypeVar("N", int, float)

MAX_SECONDS = 10 * 365 * 86400.0

_TRUE = frozenset(("true", "yes", "on"))
_FALSE = frozenset(("false", "no", "off"))
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?", re.ASCII)


def load(path: Path, max_bytes: int = MAX_BYTES) -> Section:
    """The top-level mapping of a YAML file; an empty file is an empty section."""
    return parse(read_text(path, max_bytes), str(path))


def parse(text: str, file: str) -> Section:
    """The top-level mapping of a YAML text; `file` is for the errors."""
    node = compose(text, file)
    if isinstance(node, Map):
        return Section(file, "", node)
    if is_null(node):
        return Section(file, "", Map(0, {}))
    raise InputError(file, node.line, "", "the file must be a mapping: lines of `key: value`")


class Section:
    """A mapping of the file. An accessor gives the value of a key, or the default where the key is missing.

    `field` is the dotted key of the section, `line` its line (0 = the section is missing). A key without a
    value is an error where a scalar is wanted, and otherwise an empty section or list.
    """

    __slots__ = ("_asked", "_entries", "field", "file", "line")

    def __init__(self, file: str, field: str, node: Map) -> None:
        self.file = file
        self.field = field
        self.line = node.line
        self._entries = node.entries
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> tuple[str, ...]:
        """The keys in the order of the file: for mappings whose keys are data, such as names."""
        return tuple(self._entries)

    @property
    def base(self) -> Path:
        """The directory of the file, where relative paths start."""
        return Path(self.file).parent

    def error(self, key: str, problem: str, remedy: str = "") -> InputError:
        """An error to raise: at the line of `key`, or of the section where `key` is not written."""
        line = self.line_of(key) or self.line
        return InputError(self.file, line, join(self.field, key), problem, remedy)

    def line_of(self, key: str) -> int:
        """The line of a key, counted from 1; 0 = the key is not written."""
        return self._entries[key].line if key in self._entries else 0

    def finish(self) -> None:
        """Raises `InputError` for a key that no accessor asked for, and suggests the nearest known key."""
        for key in self._entries:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                known = ", ".join(sorted(self._asked)) or "none"
                hint = f'did you mean "{near[0]}"?' if near else f"known keys: {known}"
                raise self.error(key, "unknown key", hint)

    def string(self, key: str, default: T) -> str | T:
        """A text, exactly as written: `12` and `no` are texts here."""
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
        hint = f'did you mean "{near[0]}"?' if near else ""
        raise self.error(key, f"must be one of {', '.join(choices)}", hint)

    def boolean(self, key: str, default: T) -> bool | T:
        """true or false; also yes, no, on and off, which other programs accept in the same files."""
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
        """A duration in seconds, within bounds, both included; written as `duration` reads it."""
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
            raise self.error(key, "is empty", "write a path, or leave the key out")
        return self.base / node.text

    def strings(self, key: str, default: Iterable[str] = ()) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None:
            return tuple(default)
        if isinstance(node, Scalar):
            return () if is_null(node) else (node.text,)
        if isinstance(node, Map):
            raise self.error(key, "must be a list: lines of `- text`, or [text, text]")
        return tuple(self._item(key, item) for item in node.items)

    def section(self, key: str) -> Section:
        """A nested mapping; empty where the key is not written."""
        self._asked.add(key)
        return Section(self.file, join(self.field, key), self._map(key, self._entries.get(key)))

    def sections(self, key: str) -> tuple[Section, ...]:
        """A list of mappings; empty where the key is not written."""
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None or is_null(node):
            return ()
        if not isinstance(node, List):
            raise self.error(key, "must be a list of mappings, each beginning with `- `")
        maps = [self._map(key, item) for item in node.items]
        field = join(self.field, key)
        return tuple(Section(self.file, f"{field}[{i}]", item) for i, item in enumerate(maps))

    def _scalar(self, key: str, wanted: str) -> Scalar | None:
        self._asked.add(key)
        node = self._entries.get(key)
        if node is None:
            return None
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, List) else "a mapping"
            raise self.error(key, f"must be {wanted}, not {found}")
        if is_null(node):
            raise self.error(key, "is empty", f"write {wanted}, or leave the key out")
        return node

    def _bounded(self, key: str, value: N, minimum: N, maximum: N, unit: str) -> N:
        if not minimum <= value <= maximum:
            raise self.error(key, f"must be between {minimum:.15g} and {maximum:.15g}{unit}")
        return value

    def _item(self, key: str, node: Node) -> str:
        if isinstance(node, Scalar) and not is_null(node):
            return node.text
        raise InputError(self.file, node.line, join(self.field, key), "every item must be a text")

    def _map(self, key: str, node: Node | None) -> Map:
        if isinstance(node, Map):
            return node
        if node is None or is_null(node):
            return Map(node.line if node else 0, {})
        problem = "must be a mapping: indented lines of `key: value`"
        raise InputError(self.file, node.line, join(self.field, key), problem)
