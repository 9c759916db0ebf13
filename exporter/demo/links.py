"""Links of the namespace that a thread is in, by name."""

from __future__ import annotations

from typing import Literal

from pyroute2 import IPRoute


def add_address(link: str, address: str, prefix_length: int) -> None:
    with IPRoute() as ip:
        ip.addr("add", index=_index(ip, link), address=address, prefixlen=prefix_length)


def set_state(link: str, state: Literal["up", "down"]) -> None:
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, link), state=state)


def set_mtu(link: str, mtu: int) -> None:
    with IPRoute() as ip:
        ip.link("set", index=_index(ip, link), mtu=mtu)


def add_route(network: str, link: str) -> None:
    with IPRoute() as ip:
        ip.route("add", dst=network, oif=_index(ip, link))


def _index(ip: IPRoute, link: str) -> int:
    (index,) = ip.link_lookup(ifname=link)
    return int(index)
