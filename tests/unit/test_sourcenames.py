"""The names of sources: built from a namespace or an interface, and taken apart again."""

from __future__ import annotations

import pytest

from exporter.model import Device
from exporter.sourcenames import UAPI, is_netlink, listings_of, namespace_of, netlink_source, source_of


@pytest.mark.parametrize("namespace", ["", "blue", "*", "a@b"])
def test_a_name_holds_its_namespace(namespace: str) -> None:
    """The namespace comes back from the name, also one with the separator in it."""
    source = netlink_source(namespace)
    assert is_netlink(source)
    assert namespace_of(source) == namespace


def test_a_userspace_source_is_not_the_kernel() -> None:
    """`uapi` has no namespace and is not netlink."""
    assert not is_netlink(UAPI)
    assert namespace_of(UAPI) == ""


@pytest.mark.parametrize(
    ("device", "source", "listings"),
    [
        (Device("wg0", "kernel"), "netlink", ("netlink",)),
        (Device("wg0", "kernel", "blue"), "netlink@blue", ("netlink@blue", "netlink@*")),
        (Device("tun0", "userspace"), "uapi", ("uapi",)),
    ],
)
def test_an_interface_has_a_source_and_listings(
    device: Device, source: str, listings: tuple[str, ...]
) -> None:
    """An interface in another namespace is known only when that namespace and the list of all were read."""
    assert source_of(device) == source
    assert listings_of(device) == listings
