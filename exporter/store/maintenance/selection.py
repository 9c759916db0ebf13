"""Finds the rows whose clearance is to change, by the names of gateway, interface and peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from asyncpg import Record

from exporter.errors import InputError
from exporter.store.database.connection import Connection

Kind: TypeAlias = Literal["gateway", "interface", "peer"]

NAMED = 10  # at most so many names in an error

ORGANISATION = "select org_id from argus.organisation where name = $1"
GATEWAY = "select gateway_id from argus.gateway where org_id = $1 and name = $2"
LOCK = """
select gateway_id, clearance from argus.gateway
where org_id = $1 and gateway_id = any($2::bigint[]) order by gateway_id"""
INTERFACES = """
select interface_id, name from argus.interface where org_id = $1 and gateway_id = $2 order by name"""
PEERS = """
select p.peer_id, i.gateway_id, g.name as gateway, i.name as interface, i.clearance as least
from argus.peer p
join argus.interface i on i.org_id = p.org_id and i.interface_id = p.interface_id
join argus.gateway g on g.org_id = i.org_id and g.gateway_id = i.gateway_id
where p.org_id = $1 and p.public_key = $2 order by g.name, i.name"""


@dataclass(frozen=True, slots=True)
class Goal:
    """The clearance to set, and where: on a gateway, on an interface of it, or on a peer.

    An empty `gateway` or `interface` selects a peer wherever it is configured. Contained objects with a lower
    clearance are raised to it; `with_contents`: they all get exactly this clearance.
    """

    organisation: str
    clearance: int
    gateway: str = ""
    interface: str = ""
    peer: str = ""
    with_contents: bool = False

    def __str__(self) -> str:
        return "/".join(filter(None, (self.gateway, self.interface, self.peer)))


@dataclass(frozen=True, slots=True)
class Level:
    """The objects of a kind whose `column` is in `ids`.

    `exact`: set their clearance; otherwise only raise a lower one.
    """

    kind: Kind
    column: str
    ids: tuple[int, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """`gateways`: those whose collectors are affected. `levels`: containers before their contents."""

    org_id: int
    gateways: tuple[int, ...]
    levels: tuple[Level, ...]


async def find(connection: Connection, goal: Goal, *, lock: bool = False) -> Selection:
    """The selection for a goal. `connection`: the owner's.

    `lock`: until the end of the transaction no collector of these gateways writes. Raises InputError for an
    unknown name, and for a clearance below that of the container.
    """
    org_id = await connection.fetchval(ORGANISATION, goal.organisation)
    if org_id is None:
        names = await connection.fetch("select name from argus.organisation order by name")
        raise _missing("--organisation", f"there is no organisation {goal.organisation}", names)
    search = _Search(connection, goal, org_id, lock)
    return await (search.peer() if goal.peer else search.gateway())


class _Search:
    def __init__(self, connection: Connection, goal: Goal, org_id: int, lock: bool) -> None:
        self._connection = connection
        self._goal = goal
        self._org_id = org_id
        self._lock = " for update" if lock else ""

    async def gateway(self) -> Selection:
        """The selection of a gateway, or of one of its interfaces."""
        goal, gateway_id = self._goal, await self._gateway()
        (gateway,) = await self._locked([gateway_id])
        found = await self._interfaces(gateway_id)
        interfaces = tuple(
            row["interface_id"] for row in found if row["name"] == (goal.interface or row["name"])
        )
        levels = [
            Level("interface", "interface_id", interfaces, exact=goal.with_contents or bool(goal.interface)),
            Level("peer", "interface_id", interfaces, exact=goal.with_contents),
        ]
        if not goal.interface:
            levels.insert(0, Level("gateway", "gateway_id", (gateway_id,), exact=True))
        elif goal.clearance < gateway["clearance"]:
            raise _below([f"gateway {goal.gateway} has {gateway['clearance']}"])
        return Selection(self._org_id, (gateway_id,), tuple(levels))

    async def peer(self) -> Selection:
        """The selection of a peer, on every interface it was ever seen on within the goal."""
        gateways = sorted({row["gateway_id"] for row in await self._peers()})
        await self._locked(gateways)
        peers = [row for row in await self._peers() if row["gateway_id"] in gateways]
        if low := [row for row in peers if self._goal.clearance < row["least"]]:
            raise _below([f"interface {row['gateway']}/{row['interface']} has {row['least']}" for row in low])
        level = Level("peer", "peer_id", tuple(row["peer_id"] for row in peers), exact=True)
        return Selection(self._org_id, tuple(gateways), (level,))

    async def _gateway(self) -> int:
        goal = self._goal
        gateway_id: int | None = await self._connection.fetchval(GATEWAY, self._org_id, goal.gateway)
        if gateway_id is None:
            names = await self._connection.fetch(
                "select name from argus.gateway where org_id = $1 order by name", self._org_id
            )
            problem = f"there is no gateway {goal.gateway} in organisation {goal.organisation}"
            raise _missing("--gateway", problem, names)
        return gateway_id

    async def _locked(self, gateways: Sequence[int]) -> list[Record]:
        """Lock the rows of gateways, which every transaction of a collector locks first."""
        return await self._connection.fetch(LOCK + self._lock, self._org_id, gateways)

    async def _interfaces(self, gateway_id: int) -> list[Record]:
        found = await self._connection.fetch(INTERFACES, self._org_id, gateway_id)
        name = self._goal.interface
        if name and name not in {row["name"] for row in found}:
            problem = f"gateway {self._goal.gateway} has no interface {name}"
            raise _missing("--interface", problem, [(row["name"],) for row in found])
        return found

    async def _peers(self) -> list[Record]:
        goal = self._goal
        everywhere = await self._connection.fetch(PEERS, self._org_id, goal.peer)
        if goal.gateway:
            await self._interfaces(await self._gateway())
        found = [
            row
            for row in everywhere
            if row["gateway"] == (goal.gateway or row["gateway"])
            and row["interface"] == (goal.interface or row["interface"])
        ]
        if not found:
            place = "/".join(filter(None, (goal.gateway, goal.interface)))
            where = f"on {place}" if place else f"in organisation {goal.organisation}"
            names = [(f"{row['gateway']}/{row['interface']}",) for row in everywhere]
            raise _missing("--peer", f"there is no peer {goal.peer} {where}", names, "it is on")
        return found


def _missing(option: str, problem: str, names: Sequence[Record | tuple[str]], there: str = "") -> InputError:
    shown = [_printable(row[0]) for row in names[:NAMED]]
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    listed = f"; {there or 'there is'} {', '.join(shown)}" if shown else ""
    return InputError("the command line", 0, option, _printable(problem) + listed)


def _below(containers: Sequence[str]) -> InputError:
    what = _printable(", ".join(containers[:NAMED]))
    return InputError("the command line", 0, "--clearance", f"{what}, and its contents cannot have less")


def _printable(text: str) -> str:
    """Escape control characters: names come from other hosts, and the text may go to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
