"""One peer, or a few: its handshakes, its traffic, how it was configured."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links, records
from dashboards.board import DATASOURCE, GATEWAY, INTERFACE, JOB, ONE_INSTANCE, PEER, RECORDS, board
from dashboards.fields import STATE_WORDS, Column, limits
from dashboards.panels import graph, stat_panel, table_panel, timeline
from dashboards.promql import AGE, INFO, RECEIVED, SENT, WINDOW, increase, named, of, rate, state
from dashboards.promql import PEER as CHOSEN
from dashboards.queries import Sql

NAME = "{{peer}}"


def dashboard() -> Dashboard:
    return board(
        links.PEER,
        "Peer",
        "One peer: is it there, how does it behave against its own past, and how was it configured?",
        (DATASOURCE, RECORDS, JOB, ONE_INSTANCE, INTERFACE, PEER, GATEWAY),
        {
            "Handshakes": [*_figures(), _age(), _timeline()],
            "Traffic": [_throughput(), _resets(), _volume()],
            "Records": [_configurations(), _keys()],
        },
        alerts=('interface=~"$interface|"', 'public_key=~"$peer|"'),
        since="now-24h",
    )


def _figures() -> list[Panel]:
    return [
        stat_panel(
            "State",
            "Is the peer there?",
            {NAME: named(f"({state(CHOSEN)})", CHOSEN, labels="peer")},
            mapping=STATE_WORDS,
        ),
        stat_panel(
            "Last handshake",
            "How long ago was the last handshake?",
            {NAME: named(of(AGE, CHOSEN), CHOSEN, labels="peer")},
            "s",
        ),
        stat_panel(
            "Of its window",
            "How much of the time that the peer may be silent has passed? From 100 % on it is stale.",
            {NAME: named(f"{of(AGE, CHOSEN)} / {of(WINDOW, CHOSEN)}", CHOSEN, labels="peer")},
            "percentunit",
            thresholds=limits(orange=0.8, red=1),
        ),
        stat_panel(
            "Expected",
            "What is expected of the peer, and who is to be asked?",
            {"{{expected}}, {{criticality}}, {{owner}}": of(INFO, CHOSEN)},
            only_names=True,
        ),
    ]


def _age() -> Panel:
    return graph(
        "Handshake age",
        "When was the peer silent for longer than it may be? The dashed line is its own window.",
        {
            f"age {NAME}": named(of(AGE, CHOSEN), CHOSEN, labels="peer"),
            f"window {NAME}": named(of(WINDOW, CHOSEN), CHOSEN, labels="peer"),
        },
        "s",
        dashed="^window",
        span=24,
    )


def _timeline() -> Panel:
    return timeline(
        "States",
        "When was the peer in which state?",
        named(f"({state(CHOSEN)})", CHOSEN, labels="peer"),
        NAME,
        STATE_WORDS,
        height=5,
    )


def _throughput() -> Panel:
    return graph(
        "Throughput",
        "How much does the peer send to the gateway and get from it? What it gets is drawn below zero.",
        {
            f"{word} {NAME}": named(rate(metric, CHOSEN), CHOSEN, labels="peer")
            for word, metric in (("received", RECEIVED), ("sent", SENT))
        },
        "Bps",
        mirrored="^sent",
    )


def _resets() -> Panel:
    return graph(
        "Resets and moves",
        "Did the peer's counters begin anew (it was made again), or its endpoint move?",
        {
            f"resets {NAME}": named(
                f"resets({of(RECEIVED, CHOSEN)}[$__rate_interval])", CHOSEN, labels="peer"
            ),
            f"moves {NAME}": named(
                increase("wireguard_peer_endpoint_changes_total", "$__rate_interval", CHOSEN),
                CHOSEN,
                labels="peer",
            ),
        },
        "short",
        bars=True,
    )


def _volume() -> Panel:
    return graph(
        "Volume per day",
        "How much did the peer move on each day (UTC), through every restart of its counters?",
        Sql(records.VOLUME_PER_DAY, "time_series"),
        "bytes",
        bars=True,
        mirrored="^sent",
        since="30d",
    )


def _configurations() -> Panel:
    return table_panel(
        "Configurations",
        "How was the peer configured in this time: endpoint, allowed IPs, keepalive, preshared key?",
        Sql(records.CONFIGURATIONS),
        [
            Column("valid_from", "From", "dateTimeAsIso"),
            Column("valid_to", "To", "dateTimeAsIso"),
            Column("endpoint", "Endpoint"),
            Column("allowed_ips", "Allowed IPs"),
            Column("persistent_keepalive", "Keepalive", "s"),
            Column("has_preshared_key", "Preshared key"),
        ],
        empty="The records know nothing of this peer in this time",
    )


def _keys() -> Panel:
    return table_panel(
        "Keys of this name",
        "Which public keys did peers of this name have, here or elsewhere? A new one follows a rotation.",
        Sql(records.KEYS_OF_NAME),
        [
            Column("name", "Peer"),
            Column("gateway", "Gateway"),
            Column("interface", "Interface"),
            Column("first_seen", "First seen", "dateTimeAsIso"),
            Column("last_seen", "Last seen", "dateTimeAsIso"),
            Column("removed", "Removed"),
            links.KEY,
        ],
        empty="The directory has no name for this peer",
    )
