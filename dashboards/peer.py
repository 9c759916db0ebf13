"""One peer, or a few: its handshakes, its traffic, how it was configured."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links, records
from dashboards.board import DATASOURCE, GATEWAY, INTERFACE, JOB, ONE_INSTANCE, PEER, RECORDS, board
from dashboards.fields import STATE_WORDS, Column, limits
from dashboards.panels import graph, stat_panel, table_panel, timeline
from dashboards.promql import (
    AGE,
    BASELINE,
    DIRECTIONS,
    INFO,
    MOVES,
    RATE,
    VOLUME,
    WINDOW,
    increase,
    named,
    of,
    state,
    threshold,
)
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
            "Handshakes": [*_figures(), _age(), _timeline(), _handshakes(), _resets()],
            "Traffic": [_throughput(), _against_baseline(), _volume()],
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
        "How much does the gateway receive from the peer, and send to it? Sent is drawn below zero.",
        {
            f"{word} {NAME}": named(of(RATE, CHOSEN, direction), CHOSEN, labels="peer")
            for word, direction in DIRECTIONS.items()
        },
        "Bps",
        mirrored="^sent",
    )


def _against_baseline() -> Panel:
    factor, least = (f"scalar({threshold(f'volume_day:{name}')})" for name in ("factor", "bytes"))
    baseline = of(BASELINE, CHOSEN)
    return graph(
        "Volume of 24 hours",
        "How much did the peer move in the last 24 hours, against its busiest day? Above the limit it is an "
        "anomaly.",
        {
            "{{direction}}": of(VOLUME, CHOSEN),
            "busiest day, {{direction}}": baseline,
            "limit, {{direction}}": f"clamp_min({factor} * {baseline}, {least})",
        },
        "bytes",
        dashed="day|limit",
    )


def _handshakes() -> Panel:
    made = increase("wireguard_peer_handshakes_total", "30m", CHOSEN)
    return graph(
        "Handshakes in 30 minutes",
        "How often was the session renewed? 15 are usual while it is in use; above the limit it flaps.",
        {
            NAME: named(made, CHOSEN, labels="peer"),
            "limit": threshold("peer_handshakes:increase30m"),
        },
        "short",
        dashed="limit",
    )


def _resets() -> Panel:
    resets = f"resets({of('wireguard_peer_receive_bytes_total', CHOSEN)}[$__rate_interval])"
    moves = increase(MOVES, "$__rate_interval", CHOSEN)
    return graph(
        "Resets and moves",
        "Did the peer's counters begin anew (it was made again), or its endpoint move?",
        {
            f"{word} {NAME}": named(expression, CHOSEN, labels="peer")
            for word, expression in (("resets", resets), ("moves", moves))
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
        span=24,
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
