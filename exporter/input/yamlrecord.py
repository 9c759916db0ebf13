"""Reads a section of a YAML file into a frozen dataclass, as the fields of the class declare.

    @dataclass(frozen=True)
    class SourceSettings:
        netlink: bool = True
        timeout: Annotated[float, Seconds(0.1, 300)] = 5.0
        dump_retries: Annotated[int, Between(0, 100)] = 8

A key is the name of its field, and its default is the field's. The type says how the value is written:

| type of the field | value in the file |
|---|---|
| `bool`, `str` | true or false; a text |
| `Annotated[int, Between(…)]` | an integer within bounds |
| `Annotated[float, Seconds(…)]` | a duration within bounds |
| `Literal[…]` | one of these words |
| `Path`, `Path | None` | a path; a relative one starts at the directory of the file |
| `tuple[str, ...]`, `tuple[Path, ...]` | a list, or one item alone |
| a dataclass | a nested section |
| `Annotated[…, Read(function)]` | as the function reads it |

A class with a method `mistakes` also checks values against each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from exporter.input.yamlfile import MAX_SECONDS, Section

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of an integer, both included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration, within bounds in seconds, both included."""

    least: float = 0
    most: float = MAX_SECONDS


@dataclass(frozen=True, slots=True)
class Read:
    """A value that a function reads: `function(section, key, default)`. `key` "" = the name of the field."""

    function: Callable[[Section, str, Any], Any]
    key: str = ""


@dataclass(frozen=True, slots=True)
class Mistake:
    """Values that are valid alone but contradict each other. The error names the line of `key`."""

    key: str
    problem: str
    remedy: str


@runtime_checkable
class Checked(Protocol):
    """A class whose values are checked against each other after they are read."""

    def mistakes(self) -> Iterator[Mistake]:
        """The contradictions; the first is raised."""
        ...


def record(section: Section, kind: type[R]) -> R:
    """The section as an instance of a dataclass whose fields all have defaults.

    Raises `InputError` at the first mistake: a wrong value, an unknown key, a contradiction.
    """
    defaults = kind()
    hints = get_type_hints(kind, include_extras=True)
    made = kind(
        **{name: _value(section, name, hints[name], getattr(defaults, name)) for name in _names(kind)}
    )
    section.finish()
    if isinstance(made, Checked):
        for mistake in made.mistakes():
            raise section.error(mistake.key, mistake.problem, mistake.remedy)
    return made


def keys(kind: type[DataclassInstance]) -> list[str]:
    """Every key that `record` reads, dotted and in order: `gateway`, `metrics.schema` …"""
    return list(dict.fromkeys(_keys(kind)))


def _keys(kind: type[DataclassInstance]) -> Iterator[str]:
    hints = get_type_hints(kind, include_extras=True)
    for name in _names(kind):
        plain, mark = _declared(hints[name])
        if isinstance(plain, type) and dataclasses.is_dataclass(plain):
            yield from (f"{name}.{nested}" for nested in _keys(plain))
        else:
            yield (mark.key if isinstance(mark, Read) else "") or name


def _names(kind: type[DataclassInstance]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _declared(hint: Any) -> tuple[Any, Any]:
    """`Annotated[int, Between(0, 9)]` → `(int, Between(0, 9))`; a type alone has None."""
    if get_origin(hint) is not Annotated:
        return hint, None
    plain, mark = get_args(hint)
    return plain, mark


def _value(section: Section, key: str, hint: Any, default: Any) -> Any:
    plain, mark = _declared(hint)
    match mark:
        case Read(function, other):
            return function(section, other or key, default)
        case Between(least, most):
            return section.integer(key, default, least, most)
        case Seconds(shortest, longest):
            return section.seconds(key, default, shortest, longest)
    if isinstance(plain, type) and dataclasses.is_dataclass(plain):
        return record(section.section(key), plain)
    if words := _words(plain):
        return section.choice(key, words, default)
    return _BY_TYPE[plain](section, key, default)


def _words(plain: Any) -> tuple[str, ...]:
    """The words of a `Literal`, or of a union of them; "" is only ever the default, and no word."""
    if get_origin(plain) is Literal:
        return tuple(filter(None, get_args(plain)))
    return tuple(word for part in get_args(plain) for word in _words(part))


def _paths(section: Section, key: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
    paths = section.strings(key)
    return tuple(section.base / path for path in paths) if key in section else default


_BY_TYPE: dict[Any, Callable[[Section, str, Any], Any]] = {
    bool: Section.boolean,
    str: Section.string,
    Path: Section.path,
    Path | None: Section.path,
    tuple[str, ...]: Section.strings,
    tuple[Path, ...]: _paths,
}
