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
class MindFlavorContent:
    """A page in MindFlavor's schema, all of whose families have the same series."""

    labels: Sequence[Mapping[str, str]]  # of each series
    columns: Mapping[Family, Sequence[int | None]]  # a number per series
    tables: Tables  # what this exporter adds


@dataclass(frozen=True, slots=True)
class Group:
    """Families with the same series, in columns: a value per series for each label and each family."""

    labels: Mapping[str, Sequence[str]]
    columns: Mapping[Family, Sequence[int]]


@dataclass(frozen=True, slots=True)
class MdlayherContent:
    """A page in mdlayher's schema."""

    groups: Sequence[Group]
    tables: Tables  # what this exporter adds
