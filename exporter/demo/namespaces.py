"""Network namespaces of the demo: made, entered and removed by name."""

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
            f"the network namespace {name} cannot be made: {error}; "
            "the demo needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: --privileged)"
        ) from error


def existing() -> list[str]:
    """The demo's namespaces on this host."""
    return sorted(name for name in netns.listnetns() if name.startswith(NAMESPACE_PREFIX))


def remove(name: str) -> None:
    netns.remove(name)


def inside(name: str, action: Callable[[], T]) -> T:
    """What `action` returns, called in the namespace `name`.

    It runs in a thread of its own, because a thread enters a namespace alone and leaves it by ending. The
    sockets and processes that it makes stay in the namespace: both keep that of the thread that made them.
    """

    def enter() -> T:
        netns.setns(name, flags=0)
        return action()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(enter).result()
