"""The dashboard of one gateway or several: interfaces, their links and all peers."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import DATASOURCE, INTERFACE, JOB, ONE_INSTANCE, board
from dashboards.fields import STATE_COLOURS, STATE_WORDS, YES_OR_NO, Column, limits
from dashboards.panels import graph, stat_panel, table_panel, timeline
from dashboards.promql import (
    AGE,
    DIRECTIONS,
    ENDPOINT_CHANGES,
    GATEWAY,
    INFO,
    KEY,
    PEERS,
    RATE,
    count,
    increase,
    named,
    of,
    rate,
    state,
    threshold,
)

SHOWN = 40  # peers in the timeline; more bands would be too narrow to distinguish


def dashboard() -> Dashboard:
    return board(
        links.GATEWAY,
        "Gateway",
        "One gateway: are its interfaces read and up, and how is each peer? Click a peer to open its "
        "dashboard.",
        (DATASOURCE, JOB, ONE_INSTANCE, INTERFACE),
        {
            "Interfaces": [_read(), _states(), _interfaces(), _throughput(), _errors()],
            "Peers": [_peers(), _unreachable(), _timeline(), _endpoint_changes()],
        },
        alerts=('interface=~"$interface|"',),
    )


def _read() -> Panel:
    return stat_panel(
        "Readings",
        "How many readings succeed, and how many fail? The Exporter dashboard shows the reasons.",
        {
            "succeeded": f"sum({of('wireguard_exporter_read_success')})",
            "failed": count(f"{of('wireguard_exporter_read_success')} == 0"),
        },
        colours={"succeeded": "green"},
        thresholds=limits("text", red=1),
    )


def _states() -> Panel:
    return stat_panel(
        "Peers by state",
        "How many peers are in each state?",
        {"{{state}}": f"sum by (state) ({of('wireguard_interface_peers', PEERS)})"},
        colours=STATE_COLOURS,
        span=18,
    )


def _interfaces() -> Panel:
    def each(metric: str) -> str:
        return f"max by (instance, interface) ({of(metric, PEERS)})"

    return table_panel(
        "Interfaces",
        "Which interfaces exist, and are their links up?",
        [
            f"max by (instance, gateway, interface, kind, public_key) ({of(GATEWAY, PEERS)})",
            each("wireguard_interface_up"),
            each("wireguard_interface_listen_port"),
            f"sum by (instance, interface) ({of('wireguard_interface_peers', PEERS)})",
        ],
        [
            Column("instance", "Instance"),
            Column("gateway", "Gateway"),
            Column("interface", "Interface"),
            Column("kind", "Kind"),
            Column("Value #B", "Up", mapping=YES_OR_NO),
            Column("Value #C", "Port", "none"),
            Column("Value #D", "Peers", "short"),
            links.KEY_COLUMN,
        ],
        empty="No interface is read",
        height=6,
    )


def _throughput() -> Panel:
    return graph(
        "Throughput",
        "How much does each interface receive and send? Encrypted bytes; sent is drawn below zero.",
        {
            f"{word} {{{{interface}}}}": of("interface_direction:wireguard_bytes:rate5m", PEERS, direction)
            for word, direction in DIRECTIONS.items()
        },
        "Bps",
        mirrored="^sent",
    )


def _errors() -> Panel:
    kinds = ("receive_errors", "transmit_errors", "receive_drops", "transmit_drops")
    return graph(
        "Link errors and drops",
        "Does an interface lose packets, and in which direction?",
        {
            f"{kind.replace('_', ' ')} {{{{interface}}}}": rate(f"wireguard_interface_{kind}_total", PEERS)
            for kind in kinds
        },
        "pps",
    )


def _unreachable() -> Panel:
    return graph(
        "Unreachable always-on peers",
        "What share of the always-on peers is unreachable? Above the limit, the cause is probably the "
        "gateway and not the peers.",
        {
            "{{gateway}}": of("gateway:wireguard_peers_unreachable:ratio"),
            "limit": threshold("gateway_unreachable:ratio"),
        },
        "percentunit",
        dashed="limit",
        span=24,
    )


def _peers() -> Panel:
    def each(expression: str) -> str:
        return f"max by ({KEY}) ({expression})"

    return table_panel(
        "Peers",
        "What are the state, handshake age, throughput and endpoint changes (24 hours) of each peer?",
        [
            f"max by ({KEY}, peer, site, expected) ({of(INFO, PEERS)})",
            each(state(PEERS)),
            each(of(AGE, PEERS)),
            *(each(of(RATE, PEERS, direction)) for direction in DIRECTIONS.values()),
            each(increase(ENDPOINT_CHANGES, "1d", PEERS)),
        ],
        [
            *links.PEER_COLUMNS,
            Column("interface", "Interface"),
            Column("expected", "Expected"),
            Column("Value #B", "State", mapping=STATE_WORDS),
            Column("Value #C", "Handshake age", "s"),
            Column("Value #D", "Received", "Bps"),
            Column("Value #E", "Sent", "Bps"),
            Column("Value #F", "Endpoint changes", "short"),
            Column("instance", "Instance"),
            links.KEY_COLUMN,
        ],
        sort="Handshake age",
        empty="No peer is configured",
        height=12,
    )


def _timeline() -> Panel:
    oldest = f"topk({SHOWN}, max_over_time({of(AGE, PEERS)}[$__range] @ end()))"
    return timeline(
        "Peer states over time",
        f"When was each peer in which state? The {SHOWN} peers with the oldest handshakes in this time "
        "range.",
        named(f"({state(PEERS)} and on ({KEY}) {oldest})", PEERS, labels="peer"),
        "{{peer}}",
        STATE_WORDS,
        link=links.LINE_TO_PEER,
        height=12,
    )


def _endpoint_changes() -> Panel:
    changes = increase(ENDPOINT_CHANGES, "1h", PEERS)
    return graph(
        "Endpoint changes",
        "How often did endpoints change within an hour? With two hosts on one key, the endpoint changes with "
        "every packet. The limit is that of changes of the address.",
        {
            "{{peer}}": f"topk(10, {named(f'({changes} > 0)', PEERS, labels='peer')})",
            "limit": threshold("peer_endpoint_address_changes:increase1h"),
        },
        "short",
        dashed="limit",
        link=links.LINE_TO_PEER,
        span=24,
    )
