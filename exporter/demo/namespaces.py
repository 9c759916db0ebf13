"""The network namespaces of the demo: created, entered and removed by name."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pyroute2 import netns

from exporter.demo.errors import DemoError
from exporter.demo.plan import NAMESPACE_PREFIX

T = TypeVar("T")


def create(name: str) -> None:
    try:
        netns.create(name)
    except OSError as error:
        raise DemoError(
            f"the network namespace {name} cannot be created: {error}",
            "run the demo as root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: --privileged)",
        ) from error


def existing() -> list[str]:
    """The demo's namespaces on this host."""
    return sorted(name for name in netns.listnetns() if name.startswith(NAMESPACE_PREFIX))


def remove(name: str) -> None:
    netns.remove(name)


def inside(name: str, action: Callable[[], T]) -> T:
    """What `action` returns, called in the namespace `name`.

    It runs on its own thread, because a namespace is entered by one thread and left when that thread ends.
    Sockets and processes that it creates stay in the namespace.
    """

    def enter() -> T:
        netns.setns(name, flags=0)
        return action()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(enter).result()
