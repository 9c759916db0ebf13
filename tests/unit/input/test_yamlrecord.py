"""Dataclasses read from YAML by the declarations of their fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from exporter.errors import InputError
from exporter.input import yamlfile, yamlrecord
from exporter.input.yamlfile import Section
from exporter.input.yamlrecord import Between, Mistake, Read, Seconds


def reversed_text(section: Section, key: str, default: str) -> str:
    return section.string(key, default)[::-1]


@dataclass(frozen=True)
class Inner:
    word: Literal["a", "b"] | Literal[""] = ""
    count: Annotated[int, Between(1, 3)] = 2


@dataclass(frozen=True)
class Outer:
    on: bool = False
    text: str = "x"
    wait: Annotated[float, Seconds(1, 60)] = 5.0
    file: Path = Path("/a")
    other: Path | None = None
    texts: tuple[str, ...] = ("t",)
    files: tuple[Path, ...] = ()
    turned: Annotated[str, Read(reversed_text)] = ""
    renamed: Annotated[str, Read(reversed_text, key="turned")] = ""
    inner: Inner = Inner()

    def mistakes(self) -> Iterator[Mistake]:
        if self.on and self.text == "off":
            yield Mistake("text", "contradicts `on`", "write one of the two")


def read(text: str) -> Outer:
    return yamlrecord.record(yamlfile.parse(text, "/etc/file.yml"), Outer)


def test_every_type_is_read() -> None:
    """Each type of a field reads what its declaration says; relative paths start at the file."""
    text = """
    on: yes
    text: no
    wait: 1m
    file: a
    other: /b
    texts: one
    files: [c, /d]
    turned: abc
    inner: {word: b, count: 3}
    """
    files = (Path("/etc/c"), Path("/d"))
    expected = Outer(True, "no", 60, Path("/etc/a"), Path("/b"), ("one",), files, "cba", "cba", Inner("b", 3))
    assert read(text) == expected


def test_defaults_are_those_of_the_fields() -> None:
    """Without a key, and without a section, the class's own defaults hold."""
    assert read("") == read("inner:\n") == Outer()


def test_keys_are_the_fields() -> None:
    """Keys are dotted and in order, and two fields that read one key name it once."""
    assert yamlrecord.keys(Outer) == [
        "on", "text", "wait", "file", "other", "texts", "files", "turned", "inner.word", "inner.count"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("wait: 2m", "/etc/file.yml:1: wait: must be between 1 and 60 s"),
        ("inner:\n  count: 0", "/etc/file.yml:2: inner.count: must be between 1 and 3"),
        ("inner:\n  word: c", "/etc/file.yml:2: inner.word: must be one of a, b"),
        ("inner:\n  cuont: 2", '/etc/file.yml:2: inner.cuont: unknown key; did you mean "count"?'),
        ("txet: a", '/etc/file.yml:1: txet: unknown key; did you mean "text"?'),
        ("on: true\ntext: off", "/etc/file.yml:2: text: contradicts `on`; write one of the two"),
    ],
)
def test_mistakes_say_where_they_are(text: str, error: str) -> None:
    """Each error has file, line, dotted key, and what would be right."""
    with pytest.raises(InputError) as raised:
        read(text)
    assert str(raised.value) == error
