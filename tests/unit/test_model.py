"""The records of a gateway: their names, that they are immutable, and that none can hold a secret."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Device, Link, Peer, Reading, Snapshot, split_endpoint

RECORDS = {
    Peer: Peer("key"),
    Link: Link(up=True),
    Device: Device("wg0", "kernel"),
    Reading: Reading("netlink", "", 0.1),
    Snapshot: Snapshot("gw", 0.0),
}


@pytest.mark.parametrize(
    ("namespace", "label"), [("", "wg0"), ("blue", "blue/wg0"), ("a b%", "a b%/wg0")], ids=repr
)
def test_label_tells_interfaces_apart(namespace: str, label: str) -> None:
    """The label is the interface's name, after its network namespace unless that is the daemon's own."""
    assert Device("wg0", "kernel", namespace).label == label


def test_reading_is_well_without_a_reason() -> None:
    """A reading failed if and only if it has a reason."""
    assert Reading("netlink", "wg0", 0.1).ok
    assert not Reading("netlink", "wg0", 0.1, "timeout", "no answer").ok


def test_a_reading_explains_itself_with_its_remedy() -> None:
    """The explanation is the failure and its remedy; without a remedy, only the failure."""
    failed = Reading("netlink", "wg0", 0.1, "timeout", "no answer")
    assert failed.explanation == "no answer"
    assert dataclasses.replace(failed, remedy="try again").explanation == "no answer; try again"


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("192.0.2.1:51820", "192.0.2.1", "51820"),
        ("[2001:db8::1]:1", "2001:db8::1", "1"),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", "65535"),
        ("", "", ""),
    ],
)
def test_split_endpoint(endpoint: str, host: str, port: str) -> None:
    """An endpoint is split into address, with its zone, and port; an unknown one gives empty strings."""
    assert split_endpoint(endpoint) == (host, port)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_split_endpoint_of_any_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """Any address and port come back from the endpoint that they form."""
    host = f"[{address}]" if address.version == 6 else str(address)
    assert split_endpoint(f"{host}:{port}") == (str(address), str(port))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_are_immutable(kind: type[Peer | Link | Device | Reading | Snapshot]) -> None:
    """No field of a record can be set or added, because threads share records."""
    record = RECORDS[kind]
    for name in [item.name for item in dataclasses.fields(kind)]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, None)
    assert not hasattr(record, "__dict__")


def test_a_peer_says_only_whether_it_has_a_preshared_key() -> None:
    """No record has a field for a private or a preshared key."""
    secret = [
        (item.name, str(item.type))
        for kind in RECORDS
        for item in dataclasses.fields(kind)
        if any(word in item.name for word in ("private", "preshared", "psk", "secret"))
    ]
    assert secret == [("has_preshared_key", "bool")]
