"""The dashboard of one peer or several: handshakes, traffic and configuration."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links, records
from dashboards.board import DATASOURCE, GATEWAY, INTERFACE, JOB, ONE_INSTANCE, PEER, RECORDS, board
from dashboards.fields import STATE_WORDS, Column, limits
from dashboards.panels import graph, stat_panel, table_panel, timeline
from dashboards.promql import (
    AGE,
    DIRECTIONS,
    ENDPOINT_CHANGES,
    INFO,
    RATE,
    VOLUME,
    WINDOW,
    busiest_day,
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
        "One peer: is it connected, how does it compare with its own past, and how was it configured?",
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
            "Is the peer connected?",
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
            "Handshake age / window",
            "How old is the last handshake, relative to the window? Above 100 % an always-on peer is stale.",
            {NAME: named(f"{of(AGE, CHOSEN)} / {of(WINDOW, CHOSEN)}", CHOSEN, labels="peer")},
            "percentunit",
            thresholds=limits(orange=0.8, red=1),
        ),
        stat_panel(
            "Expectation",
            "Should the peer be connected, how critical is it, and who is its owner?",
            {"{{expected}}, {{criticality}}, {{owner}}": of(INFO, CHOSEN)},
            only_names=True,
        ),
    ]


def _age() -> Panel:
    return graph(
        "Handshake age",
        "When was the last handshake older than the window? The dashed line is the window of the peer.",
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
        "State over time",
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
    baseline = busiest_day(CHOSEN)
    return graph(
        "Volume in 24 hours",
        "How much did the peer transfer in the last 24 hours, compared with its busiest day? Above the "
        "limit, an alert fires.",
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
        "How many handshakes did the peer make? 15 are normal in use; above the limit the connection is "
        "unstable.",
        {
            NAME: named(made, CHOSEN, labels="peer"),
            "limit": threshold("peer_handshakes:increase30m"),
        },
        "short",
        dashed="limit",
    )


def _resets() -> Panel:
    resets = f"resets({of('wireguard_peer_receive_bytes_total', CHOSEN)}[$__rate_interval])"
    changes = increase(ENDPOINT_CHANGES, "$__rate_interval", CHOSEN)
    return graph(
        "Counter resets and endpoint changes",
        "When were the counters reset (the peer or its interface was created again), and when did the "
        "endpoint change?",
        {
            f"{word} {NAME}": named(expression, CHOSEN, labels="peer")
            for word, expression in (("counter resets", resets), ("endpoint changes", changes))
        },
        "short",
        bars=True,
    )


def _volume() -> Panel:
    return graph(
        "Volume per day",
        "How much did the peer transfer on each day (UTC)? The totals continue across counter resets.",
        Sql(records.VOLUME_PER_DAY, "time_series"),
        "bytes",
        bars=True,
        mirrored="^sent",
        since="30d",
        span=24,
    )


def _configurations() -> Panel:
    return table_panel(
        "Configuration history",
        "How was the peer configured in this time range: endpoint, allowed IPs, keepalive, preshared key?",
        Sql(records.CONFIGURATIONS),
        [
            Column("valid_from", "From", "dateTimeAsIso"),
            Column("valid_to", "To", "dateTimeAsIso"),
            Column("endpoint", "Endpoint"),
            Column("allowed_ips", "Allowed IPs"),
            Column("persistent_keepalive", "Keepalive", "s"),
            Column("has_preshared_key", "Preshared key"),
        ],
        empty="No configuration of this peer is recorded in this time range",
    )


def _keys() -> Panel:
    return table_panel(
        "Keys of peers with this name",
        "Which public keys have peers with this name had, on any gateway? A rotation adds a new key.",
        Sql(records.KEYS_OF_NAME),
        [
            Column("name", "Peer"),
            Column("gateway", "Gateway"),
            Column("interface", "Interface"),
            Column("first_seen", "First seen", "dateTimeAsIso"),
            Column("last_seen", "Last seen", "dateTimeAsIso"),
            Column("removed", "Removed"),
            links.KEY_COLUMN,
        ],
        empty="This peer has no name in the directory",
    )
