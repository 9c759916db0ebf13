"""The names of sources, as `Reading.source` and the label `source` have them.

`netlink` is the kernel, `uapi` the userspace implementations; `netlink@blue` is the kernel in the network
namespace blue, and `netlink@*` the list of all namespaces.
"""

from __future__ import annotations

from exporter.model import Device

NETLINK = "netlink"
UAPI = "uapi"
EVERY_NAMESPACE = "*"


def netlink_source(namespace: str = "") -> str:
    """The kernel in a network namespace; "" = the daemon's own."""
    return _within(NETLINK, namespace)


def source_of(device: Device) -> str:
    """The source that an interface is read from."""
    return _within(_kind(device), device.namespace)


def listings_of(device: Device) -> tuple[str, ...]:
    """The sources whose list of interfaces, or of namespaces, has to be read before the interface is."""
    every = _within(_kind(device), EVERY_NAMESPACE)
    return (source_of(device), every) if device.namespace else (source_of(device),)


def is_netlink(source: str) -> bool:
    """Whether the source is the kernel, in any network namespace."""
    return source.partition("@")[0] == NETLINK


def namespace_of(source: str) -> str:
    """The network namespace of a source; "" = the daemon's own, "*" = the list of all."""
    return source.partition("@")[2]


def _kind(device: Device) -> str:
    return NETLINK if device.kind == "kernel" else UAPI


def _within(name: str, namespace: str) -> str:
    return f"{name}@{namespace}" if namespace else name
