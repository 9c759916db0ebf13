"""One gateway, or a few: its interfaces, their links, every peer."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import DATASOURCE, INTERFACE, JOB, ONE_INSTANCE, board
from dashboards.fields import STATE_COLOURS, STATE_WORDS, YES_OR_NO, Column, limits
from dashboards.panels import graph, stat_panel, table_panel, timeline
from dashboards.promql import (
    AGE,
    DIRECTIONS,
    GATEWAY,
    INFO,
    KEY,
    MOVES,
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

SHOWN = 40  # bands of the timeline that can be told apart


def dashboard() -> Dashboard:
    return board(
        links.GATEWAY,
        "Gateway",
        "One gateway: are its interfaces read and up, and how is each of its peers? A click leads there.",
        (DATASOURCE, JOB, ONE_INSTANCE, INTERFACE),
        {
            "Interfaces": [_read(), _states(), _interfaces(), _throughput(), _errors()],
            "Peers": [_peers(), _unreachable(), _timeline(), _moves()],
        },
        alerts=('interface=~"$interface|"',),
    )


def _read() -> Panel:
    return stat_panel(
        "Read",
        "Is every interface read? The exporter's dashboard says why one is not.",
        {
            "well": f"sum({of('wireguard_exporter_read_success')})",
            "failing": count(f"{of('wireguard_exporter_read_success')} == 0"),
        },
        colours={"well": "green"},
        thresholds=limits("text", red=1),
    )


def _states() -> Panel:
    return stat_panel(
        "Peers by state",
        "How many peers are in which state?",
        {"{{state}}": f"sum by (state) ({of('wireguard_interface_peers', PEERS)})"},
        colours=STATE_COLOURS,
        span=18,
    )


def _interfaces() -> Panel:
    def each(metric: str) -> str:
        return f"max by (instance, interface) ({of(metric, PEERS)})"

    return table_panel(
        "Interfaces",
        "Which interfaces are there, and are their links up?",
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
            links.KEY,
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
        "Does a link lose packets, and in which direction?",
        {
            f"{kind.replace('_', ' ')} {{{{interface}}}}": rate(f"wireguard_interface_{kind}_total", PEERS)
            for kind in kinds
        },
        "pps",
    )


def _unreachable() -> Panel:
    return graph(
        "Unreachable",
        "Which share of the always-on peers is silent at once? Above the limit it is the gateway rather than "
        "its peers.",
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
        "How is each peer: state, age of its handshake, throughput, moves of its endpoint in a day?",
        [
            f"max by ({KEY}, peer, site, expected) ({of(INFO, PEERS)})",
            each(state(PEERS)),
            each(of(AGE, PEERS)),
            *(each(of(RATE, PEERS, direction)) for direction in DIRECTIONS.values()),
            each(increase(MOVES, "1d", PEERS)),
        ],
        [
            *links.WHO,
            Column("interface", "Interface"),
            Column("expected", "Expected"),
            Column("Value #B", "State", mapping=STATE_WORDS),
            Column("Value #C", "Handshake age", "s"),
            Column("Value #D", "Received", "Bps"),
            Column("Value #E", "Sent", "Bps"),
            Column("Value #F", "Moves", "short"),
            Column("instance", "Instance"),
            links.KEY,
        ],
        sort="Handshake age",
        empty="No peer is configured",
        height=12,
    )


def _timeline() -> Panel:
    oldest = f"topk({SHOWN}, max_over_time({of(AGE, PEERS)}[$__range] @ end()))"
    return timeline(
        "States",
        f"When was each peer in which state? The {SHOWN} whose handshakes were oldest in this time.",
        named(f"({state(PEERS)} and on ({KEY}) {oldest})", PEERS, labels="peer"),
        "{{peer}}",
        STATE_WORDS,
        link=links.LINE_TO_PEER,
        height=12,
    )


def _moves() -> Panel:
    moves = increase(MOVES, "1h", PEERS)
    return graph(
        "Endpoint moves",
        "Which endpoints moved within an hour? Above the limit, a key may be in two places.",
        {
            "{{peer}}": f"topk(10, {named(f'({moves} > 0)', PEERS, labels='peer')})",
            "limit": threshold("peer_endpoint_changes:increase1h"),
        },
        "short",
        dashed="limit",
        link=links.LINE_TO_PEER,
        span=24,
    )
