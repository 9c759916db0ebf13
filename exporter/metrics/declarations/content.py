"""The data of a page, which gathering returns and rendering takes. Families are in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.metrics.declarations.family import Family

Values = tuple[int | None, ...]  # one number per peer; None = the peer has no such series
Samples = Sequence[tuple[Mapping[str, str], float]]  # labels and value
Tables = Mapping[Family, Samples]  # families with few samples


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive peers of one interface, with the labels and numbers that their configuration decides."""

    keys: tuple[str, ...]  # public keys
    description: Mapping[str, tuple[str, ...]]  # labels of `wireguard_peer_info`: name → a value per peer
    columns: Mapping[Family, Values]


@dataclass(frozen=True, slots=True)
class InterfacePeers:
    """The peers of one interface in blocks, and the columns that change with each reading."""

    interface: str
    blocks: Sequence[Block]
    columns: Mapping[Family, Sequence[int | None]]  # a number for each peer of all blocks


@dataclass(frozen=True, slots=True)
class NativeContent:
    """A page in the native schema."""

    tables: Tables
    peer_families: Sequence[Family]
    interfaces: Sequence[InterfacePeers]


@dataclass(frozen=True, slots=True)
class Group:
    """Families whose series have the same labels: a number per series for each family."""

    labels: Sequence[Mapping[str, str]]
    columns: Mapping[Family, Sequence[int | None]]


@dataclass(frozen=True, slots=True)
class CompatibleContent:
    """A page in the schema of another exporter, followed by the families that this exporter adds."""

    groups: Sequence[Group]
    tables: Tables
