"""The dashboard of all gateways: current problems and where they are."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import FLEET, SITE, board
from dashboards.fields import STATE_COLOURS, YES_OR_NO, Column, limits
from dashboards.panels import graph, map_panel, stat_panel, table_panel
from dashboards.promql import (
    ALWAYS_ON,
    DIRECTIONS,
    EXPECTED,
    GATEWAY,
    KEY,
    LAST,
    RATE,
    UNREACHABLE,
    VOLUME,
    alerts,
    busiest_day,
    count,
    firing,
    in_organisation,
    named,
    of,
    stale,
)

HERE = 'site=~"$site"'
THROUGHPUT = "interface_direction:wireguard_bytes:rate5m"
SEVERITIES = ("critical", "warning")


def dashboard() -> Dashboard:
    return board(
        links.FLEET,
        "Fleet",
        "All gateways: what is wrong, and where? Click a gateway or a peer to open its dashboard.",
        (*FLEET, SITE),
        {
            "Overview": [_gateways(), _peers(), _open(), _map(), _throughput()],
            "Peers and alerts": [_stale(), _never(), _alerts(), _talkers(), _anomalies()],
            "Gateways": [_each_gateway()],
        },
    )


def _gateways() -> Panel:
    by_answer = {
        word: count(in_organisation(f"{of('up')} == {value}")) for word, value in (("up", 1), ("down", 0))
    }
    return stat_panel(
        "Gateways",
        "How many gateways can Prometheus scrape (up), and how many not (down)?",
        by_answer,
        colours={"up": "green"},
        thresholds=limits("text", red=1),
    )


def _peers() -> Panel:
    return stat_panel(
        "Peers by state",
        "How many peers are in each state? Stale, one-way and unobserved peers need attention.",
        {"{{state}}": f"sum by (state) ({in_organisation(of('wireguard_interface_peers'))})"},
        colours=STATE_COLOURS,
        span=12,
    )


def _open() -> Panel:
    by_severity = {severity: count(firing(f'severity="{severity}"')) for severity in SEVERITIES}
    return stat_panel(
        "Firing alerts", "How many alerts fire now, by severity?", by_severity, thresholds=limits(red=1)
    )


def _map() -> Panel:
    def each(metric: str, how: str = "sum") -> str:
        return f"{how} by (site) ({in_organisation(of(metric, HERE))})"

    return map_panel(
        "Sites",
        "At which sites are peers unreachable? All sites with a position in the directory are shown; a site "
        "with an unreachable always-on peer is red. Grafana's configured map server provides the background.",
        {
            "latitude": each("wireguard_site_latitude_degrees", "max"),
            "longitude": each("wireguard_site_longitude_degrees", "max"),
            "always-on": each(EXPECTED),
            "unreachable": each(UNREACHABLE),
        },
        colour="unreachable",
        thresholds=limits(red=1),
    )


def _throughput() -> Panel:
    return graph(
        "Throughput",
        "How much do all gateways receive and send? Encrypted bytes; sent is drawn below zero.",
        {
            word: f"sum({in_organisation(of(THROUGHPUT, direction))})"
            for word, direction in DIRECTIONS.items()
        },
        "Bps",
        mirrored="sent",
        height=12,
    )


def _stale() -> Panel:
    return table_panel(
        "Stale always-on peers",
        "Which always-on peers have a handshake older than their window? At most 100, oldest first.",
        [f"topk(100, {in_organisation(stale(HERE))})"],
        [
            *links.PEER_COLUMNS,
            *links.GATEWAY_COLUMNS,
            Column("Value", "Handshake age", "s"),
            links.KEY_COLUMN,
        ],
        sort="Handshake age",
        empty="No always-on peer is stale",
        span=14,
    )


def _never() -> Panel:
    return table_panel(
        "Always-on peers that never connected",
        "Which always-on peers have made no handshake since their interface was created?",
        [in_organisation(named(f"({of(LAST)} == 0)", HERE, ALWAYS_ON))],
        [*links.PEER_COLUMNS, *links.GATEWAY_COLUMNS, links.KEY_COLUMN],
        empty="Every always-on peer has connected",
        span=10,
    )


def _alerts() -> Panel:
    return table_panel(
        "Alerts",
        "Which alerts fire, for which peer, site or gateway, and for how long?",
        [f"time() - {alerts('ALERTS_FOR_STATE')}\nand ignoring (alertstate) {firing()}"],
        [
            Column("alertname", "Alert"),
            Column("severity", "Severity"),
            Column("peer", "Peer"),
            Column("site", "Site"),
            *links.GATEWAY_COLUMNS,
            Column("Value", "Active for", "s"),
        ],
        sort="Active for",
        empty="No alert fires",
        span=14,
    )


def _talkers() -> Panel:
    both = f"sum by ({KEY}) ({of(RATE)})"
    return table_panel(
        "Highest throughput",
        "Which peers transfer the most, received and sent together?",
        [f"topk(20, {in_organisation(named(both, HERE))})"],
        [*links.PEER_COLUMNS, *links.GATEWAY_COLUMNS, Column("Value", "Throughput", "Bps"), links.KEY_COLUMN],
        sort="Throughput",
        empty="No peer transfers anything",
        span=12,
    )


def _anomalies() -> Panel:
    factor = f"({of(VOLUME)} / {busiest_day()} >= 1)"
    return table_panel(
        "Unusual volume",
        "Which peers transferred more in the last 24 hours than on their busiest day, and how many times as "
        "much? The thresholds of the alerts are in the rules.",
        [f"topk(20, {in_organisation(named(factor, HERE))})"],
        [
            *links.PEER_COLUMNS,
            *links.GATEWAY_COLUMNS,
            Column("direction", "Direction"),
            Column("Value", "Times the busiest day", "none"),
            links.KEY_COLUMN,
        ],
        sort="Times the busiest day",
        empty="No peer transfers more than on its busiest day",
        span=12,
    )


def _each_gateway() -> Panel:
    def each(expression: str) -> str:
        return f"sum by (instance) ({in_organisation(expression)})"

    return table_panel(
        "All gateways",
        "Is each gateway up, how many of its peers have problems (stale, one-way or unobserved), and what is "
        "its throughput?",
        [
            f"max by (instance, gateway, organisation) ({in_organisation(of(GATEWAY))})",
            f"max by (instance) ({in_organisation(of('up'))})",
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
            Column("Value #D", "Peers with problems", "short", limits(red=1)),
            Column("Value #E", "Received", "Bps"),
            Column("Value #F", "Sent", "Bps"),
        ],
        sort="Peers with problems",
        empty="No gateway is scraped",
    )
