"""The list of links, compared with `ip`, and messages that are damaged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import Malformed, ReadError
from exporter.model import Link
from exporter.sources.links import (
    IFINFO,
    IFLA_IFNAME,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_STATS64,
    NamedLink,
    decode,
    links,
)
from tests.kernel.guest.helpers import Namespace, namespace, run
from tests.kit.servers.netlinkdump import attribute

PATIENCE = 20.0  # seconds
ATTEMPTS = 20  # to read both while no counter changes

needs_ip = pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip (Debian: apt install iproute2)")
COUNTS = {
    "bytes": "bytes",
    "packets": "packets",
    "errors": "errors",
    "drops": "dropped",
}  # our field → the field of ip

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces")


def by_ip(*command: str) -> list[NamedLink]:
    """The links that `ip` lists, in its order, as `NamedLink`."""
    shown = json.loads(run(*command, "ip", "-details", "-json", "-stats", "link", "show"))
    return [
        NamedLink(
            link["ifindex"],
            link["ifname"],
            link.get("linkinfo", {}).get("info_kind", ""),
            Link(
                up="UP" in link["flags"],
                **{
                    f"{side}_{name}": link["stats64"][column][count]
                    for name, count in COUNTS.items()
                    for side, column in (("receive", "rx"), ("transmit", "tx"))
                },
                index=link["ifindex"],
            ),
        )
        for link in shown
    ]


def both(space: Namespace | None = None) -> tuple[list[NamedLink], list[NamedLink]]:
    """Our links and those of `ip`, read while no counter changed."""
    inside = space.entered if space else []
    for _ in range(ATTEMPTS):
        before = by_ip(*inside)
        ours, _ = space.call(lambda: links(PATIENCE)) if space else links(PATIENCE)
        if before == by_ip(*inside):
            break
    return ours, before


@needs_ip
def test_the_links_of_this_host() -> None:
    """Index, name, kind, state and counters of every link equal those that `ip` shows."""
    ours, shown = both()
    assert ours == shown
    assert "lo" in {link.name for link in ours}


@needs_root
@needs_ip
def test_links_with_traffic_and_odd_names() -> None:
    """Links that are up and down, have traffic, a long name, or a name that is not ASCII are read
    correctly."""
    with namespace() as space:
        space.run("ip", "link", "add", "veth-a", "type", "veth", "peer", "name", "fifteen-letters")
        space.run("ip", "link", "add", "größe", "type", "veth", "peer", "name", "veth-b")
        for name in ("veth-a", "fifteen-letters"):
            space.run("ip", "link", "set", name, "up")
        space.run("ip", "address", "add", "192.0.2.1/24", "dev", "veth-a")
        space.run("ip", "neighbour", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", "veth-a")
        space.call(lambda: send(b"something", "192.0.2.2", 100))
        ours, shown = both(space)
    assert ours == shown
    found = {link.name: link for link in ours}
    assert {"veth-a", "fifteen-letters", "größe", "veth-b", "lo"} == found.keys()
    assert found["veth-a"].kind == "veth"
    assert found["veth-a"].link.transmit_packets >= 100
    assert found["fifteen-letters"].link.receive_bytes >= 100 * len(b"something")
    assert found["veth-a"].link.up
    assert not found["größe"].link.up


def send(data: bytes, address: str, times: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(times):
            sender.sendto(data, (address, 9))


@needs_root
@needs_ip
def test_links_that_come_and_go_meanwhile() -> None:
    """While links are added and removed, every list has all links that stay, also after interrupted dumps."""
    staying = {name for number in range(75) for name in (f"a{number}", f"b{number}")}
    with namespace() as space:
        batch = "".join(f"link add a{number} type veth peer name b{number}\n" for number in range(75))
        space.run("ip", "-batch", "-", text=batch)
        over = threading.Event()
        thread = threading.Thread(target=churn, args=(space, over))
        thread.start()
        try:
            listings = space.call(list_until_interrupted)
        finally:
            over.set()
            thread.join()
    assert listings
    for names in listings:
        assert staying | {"lo"} <= names


def churn(space: Namespace, over: threading.Event) -> None:
    while not over.is_set():
        space.run("ip", "link", "add", "come", "type", "veth", "peer", "name", "go")
        space.run("ip", "link", "delete", "come")


def list_until_interrupted() -> list[set[str]]:
    """The names in each listing, until one was read after interrupted dumps."""
    listings = []
    thrown_away = 0
    while thrown_away < 3:
        found, retries = links(PATIENCE, retries=50)
        thrown_away += retries
        listings.append({link.name for link in found})
    return listings


STATISTICS = tuple(range(101, 109))
MESSAGE = (
    IFINFO.pack(0, 65534, 42, 0x10091, 0)
    + attribute(IFLA_IFNAME, b"wg0\0")
    + attribute(IFLA_STATS64, struct.pack("=8Q", *STATISTICS) + bytes(17 * 8))
    + attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"wireguard\0") + attribute(2, b""))
    + attribute(200, b"of a kernel to come")
)


def test_a_message_field_by_field() -> None:
    """Each of the eight counters goes to its own field; unknown attributes are ignored."""
    assert decode(MESSAGE, 0, len(MESSAGE)) == NamedLink(
        42,
        "wg0",
        "wireguard",
        Link(
            up=True,
            receive_packets=101,
            transmit_packets=102,
            receive_bytes=103,
            transmit_bytes=104,
            receive_errors=105,
            transmit_errors=106,
            receive_drops=107,
            transmit_drops=108,
            index=42,
        ),
    )


def test_a_link_without_statistics() -> None:
    """A link with only a name is down, has no kind, and its counters are 0."""
    message = IFINFO.pack(0, 1, 3, 0, 0) + attribute(IFLA_IFNAME, b"x\0")
    assert decode(message, 0, len(message)) == NamedLink(3, "x", "", Link(up=False, index=3))


@pytest.mark.parametrize(
    "message",
    [b"", MESSAGE[:15], MESSAGE[:18], IFINFO.pack(0, 1, 3, 0, 0) + attribute(IFLA_STATS64, bytes(60))],
    ids=["nothing", "half a header", "half an attribute", "too few counters"],
)
def test_a_message_that_is_cut_off(message: bytes) -> None:
    """A message that is cut off raises an error; missing bytes are not read as zeros."""
    with pytest.raises(Malformed):
        decode(message, 0, len(message))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_corrupted_bytes(data: st.DataObject) -> None:
    """A message that is cut or overwritten anywhere is decoded or refused, and never read past its end."""
    end = data.draw(st.integers(0, len(MESSAGE)))
    corrupt = bytearray(MESSAGE)
    for place, value in data.draw(
        st.dictionaries(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255), max_size=6)
    ).items():
        corrupt[place] = value
    try:
        found = decode(corrupt, 0, end)
    except ReadError:
        return
    beyond = corrupt[:end] + bytes(len(corrupt) - end)
    assert decode(beyond, 0, end) == found


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes(data: bytes) -> None:
    """Random bytes after a valid header are decoded or refused; no other exception is raised."""
    message = IFINFO.pack(0, 1, 3, 0, 0) + data
    with contextlib.suppress(ReadError):
        assert decode(message, 0, len(message)).index == 3
