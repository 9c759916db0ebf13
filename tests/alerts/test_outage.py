"""Outages of real tunnels, from the daemon through Prometheus and Alertmanager to the notifications.

All durations are divided by 30, as with `argus-wg bundle --rehearse 30`.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest

from tests.alerts.outage import DIVISOR, MESH, Outage, running, until

QUIET = 600 / DIVISOR  # seconds: twice as long as a stale peer takes to alert
TICK = 0.5  # seconds

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root")


def of(gateway: str) -> set[str]:
    return {peer.name for peer in MESH.peers if peer.gateway == gateway}


def all_connected(outage: Outage) -> bool:
    return len(outage.query("wireguard_peer_handshake_age_seconds < 15")) >= len(MESH.peers)


def watch(outage: Outage, seconds: float) -> set[tuple[str, str]]:
    """All alerts that fire within this time, in seconds."""
    seen: set[tuple[str, str]] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen |= outage.firing()
        time.sleep(TICK)
    return seen


def healthy(outage: Outage) -> bool:
    return all_connected(outage) and not outage.firing()


@needs_root
def test_outages(tmp_path: Path) -> None:
    """Four situations, one after the other, send exactly the expected notifications:

    1. Healthy mesh: nothing fires, and the watchdog arrives.
    2. One peer disconnects: one page, and one notification when it is back.
    3. Both gateways, with seven peers, lose their uplinks: one page for each gateway. The alert about an
       unknown key is sent meanwhile.
    4. Maintenance window: the alert of a disconnected peer fires, but is not sent.
    """
    with running(tmp_path) as outage:
        sink = outage.sink
        until("the first handshakes", lambda: all_connected(outage))
        until("the watchdog", lambda: sink.watchdogs)
        assert watch(outage, QUIET) == set()
        assert sink.messages == []
        recorded = '{__name__=~".+:.+", public_key!=""}'
        (most,) = outage.query(f"max(count by (job, instance, interface, public_key) ({recorded}))")
        assert 0 < int(most["value"][1]) <= 13

        outage.silence("gw1p1")
        until("the page", lambda: sink.sent(0, "pager"))
        outage.restore("gw1p1")
        until("the resolved notification", lambda: len(sink.sent(0, "pager")) > 1)
        until("a healthy mesh", lambda: healthy(outage))
        watch(outage, QUIET)
        page, over = sink.messages
        assert [page.status, over.status] == ["firing", "resolved"]
        for message in page, over:
            assert (message.name, message.instance) == ("WireGuardCriticalPeerStale", outage.instance("gw1"))
            assert message.peers == {"gw1p1"}
        assert "gw1p1 (site site-gw1p1, criticality high) has made no handshake with gateway gw1" in page.text

        before = len(sink.messages)
        outage.silence("gw1", "gw2")
        until("both pages", lambda: len(sink.sent(before, "pager")) == 2)
        lost = len(of("gw1") | of("gw2"))
        until("the loss of each peer", lambda: len(outage.query("peer:wireguard_lost:now")) == lost)
        key = base64.b64encode(os.urandom(32)).decode()
        outage.add_peer("gw1", key)
        (unknown,) = until("the unknown key", lambda: sink.sent(before, "security"))
        assert unknown.name == "WireGuardUnknownKey"
        assert unknown.keys == {key}
        watch(outage, QUIET)
        pages = sink.sent(before, "pager")
        assert {page.instance for page in pages} == {outage.instance("gw1"), outage.instance("gw2")}
        assert {page.name for page in pages} == {"WireGuardGatewayPeersUnreachable"}
        assert len(pages) == 2
        assert sink.sent(before, "tickets") == []

        outage.restore("gw1", "gw2")
        until("both resolved notifications", lambda: len(sink.sent(before, "pager")) == 4)
        until("connected peers", lambda: outage.firing() == {("WireGuardUnknownKey", outage.instance("gw1"))})
        assert [page.status for page in sink.sent(before, "pager")] == ["firing"] * 2 + ["resolved"] * 2

        outage.maintain()
        before = len(sink.messages)
        outage.silence("gw2p1")
        until("the alert", lambda: ("WireGuardCriticalPeerStale", "gw2p1") in outage.firing())
        watch(outage, QUIET)
        assert sink.sent(before, "pager") == []
