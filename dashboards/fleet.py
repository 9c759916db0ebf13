"""All gateways at once: what is wrong, where, and how bad it is."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import FLEET, SITE, board
from dashboards.fields import STATE_COLOURS, YES_OR_NO, Column, limits
from dashboards.panels import graph, map_panel, stat_panel, table_panel
from dashboards.promql import (
    BASELINE,
    DIRECTIONS,
    EXPECTED,
    GATEWAY,
    KEY,
    LAST,
    OWED,
    RATE,
    UNREACHABLE,
    VOLUME,
    alerts,
    count,
    firing,
    named,
    of,
    overdue,
    within,
)

HERE = 'site=~"$site"'
THROUGHPUT = "interface_direction:wireguard_bytes:rate5m"
SEVERITIES = ("critical", "warning")


def dashboard() -> Dashboard:
    return board(
        links.FLEET,
        "Fleet",
        "All gateways: what is wrong, where, and how bad is it? A click leads to the gateway or the peer.",
        (*FLEET, SITE),
        {
            "Now": [_gateways(), _peers(), _open(), _map(), _throughput()],
            "Who": [_stale(), _never(), _alerts(), _talkers(), _anomalies()],
            "Where": [_each_gateway()],
        },
    )


def _gateways() -> Panel:
    answering = {word: count(within(f"{of('up')} == {value}")) for word, value in (("up", 1), ("down", 0))}
    return stat_panel(
        "Gateways",
        "How many gateways answer, and how many do not?",
        answering,
        colours={"up": "green"},
        thresholds=limits("text", red=1),
    )


def _peers() -> Panel:
    return stat_panel(
        "Peers by state",
        "How many peers are in which state? Stale, one-way and unobserved ones want a look.",
        {"{{state}}": f"sum by (state) ({within(of('wireguard_interface_peers'))})"},
        colours=STATE_COLOURS,
        span=12,
    )


def _open() -> Panel:
    by_severity = {severity: count(firing(f'severity="{severity}"')) for severity in SEVERITIES}
    return stat_panel("Open alerts", "What fires now, by severity?", by_severity, thresholds=limits(red=1))


def _map() -> Panel:
    def each(metric: str, how: str = "sum") -> str:
        return f"{how} by (site) ({within(of(metric, HERE))})"

    return map_panel(
        "Sites",
        "Where are peers missing? Every site that the directory has a place for; red with a silent always-on "
        "peer. The background comes from the map server that Grafana is set to.",
        {
            "latitude": each("wireguard_site_latitude_degrees", "max"),
            "longitude": each("wireguard_site_longitude_degrees", "max"),
            "always-on": each(EXPECTED),
            "silent": each(UNREACHABLE),
        },
        colour="silent",
        thresholds=limits(red=1),
    )


def _throughput() -> Panel:
    return graph(
        "Throughput",
        "How much do all peers receive and send? Encrypted bytes; sent is drawn below zero.",
        {word: f"sum({within(of(THROUGHPUT, direction))})" for word, direction in DIRECTIONS.items()},
        "Bps",
        mirrored="sent",
        height=12,
    )


def _stale() -> Panel:
    return table_panel(
        "Stale always-on peers",
        "Which peers that ought to be there are not, worst first? At most 100.",
        [f"topk(100, {within(overdue(HERE))})"],
        [*links.WHO, *links.WHERE, Column("Value", "Handshake age", "s"), links.KEY],
        sort="Handshake age",
        empty="No always-on peer is stale",
        span=14,
    )


def _never() -> Panel:
    return table_panel(
        "Never connected",
        "Which always-on peers had no handshake since their interface was made?",
        [within(named(f"({of(LAST)} == 0)", HERE, OWED))],
        [*links.WHO, *links.WHERE, links.KEY],
        empty="Every always-on peer has connected",
        span=10,
    )


def _alerts() -> Panel:
    return table_panel(
        "Alerts",
        "Which alerts fire, for whom, and for how long?",
        [f"time() - {alerts('ALERTS_FOR_STATE')}\nand ignoring (alertstate) {firing()}"],
        [
            Column("alertname", "Alert"),
            Column("severity", "Severity"),
            Column("peer", "Peer"),
            Column("site", "Site"),
            *links.WHERE,
            Column("Value", "Active for", "s"),
        ],
        sort="Active for",
        empty="Nothing fires",
        span=14,
    )


def _talkers() -> Panel:
    both = f"sum by ({KEY}) ({of(RATE)})"
    return table_panel(
        "Top talkers",
        "Which peers move most, received and sent together?",
        [f"topk(20, {within(named(both, HERE))})"],
        [*links.WHO, *links.WHERE, Column("Value", "Throughput", "Bps"), links.KEY],
        sort="Throughput",
        empty="No peer moves anything",
        span=12,
    )


def _anomalies() -> Panel:
    factor = f"({of(VOLUME)} / {of(BASELINE)} >= 1)"
    return table_panel(
        "Anomalies",
        "Which peers moved more in the last 24 hours than on their busiest day, and how many times as much? "
        "What alerts, and above how many bytes, is in the rules.",
        [f"topk(20, {within(named(factor, HERE))})"],
        [
            *links.WHO,
            *links.WHERE,
            Column("direction", "Direction"),
            Column("Value", "Times the busiest day", "none"),
            links.KEY,
        ],
        sort="Times the busiest day",
        empty="No peer moves more than on its busiest day",
        span=12,
    )


def _each_gateway() -> Panel:
    def each(expression: str) -> str:
        return f"sum by (instance) ({within(expression)})"

    return table_panel(
        "Each gateway",
        "How is each gateway, and how much does it carry?",
        [
            f"max by (instance, gateway, organisation) ({within(of(GATEWAY))})",
            f"max by (instance) ({within(of('up'))})",
            each(of("wireguard_interface_peers")),
            each(of("wireguard_interface_peers", 'state=~"stale|one-way|unobserved"')),
            *(each(of(THROUGHPUT, one)) for one in DIRECTIONS.values()),
        ],
        [
            Column("instance", "Instance", link=links.ROW_TO_GATEWAY),
            Column("gateway", "Gateway"),
            Column("organisation", "Organisation"),
            Column("Value #B", "Up", mapping=YES_OR_NO),
            Column("Value #C", "Peers", "short"),
            Column("Value #D", "In trouble", "short", limits(red=1)),
            Column("Value #E", "Received", "Bps"),
            Column("Value #F", "Sent", "Bps"),
        ],
        sort="In trouble",
        empty="No gateway is scraped",
    )
