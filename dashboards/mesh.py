"""The dashboard of tunnels between gateways, as both ends report them."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import FLEET, board
from dashboards.fields import Column, limits, words
from dashboards.panels import graph, matrix, stat_panel, table_panel
from dashboards.promql import AGE, DIRECTIONS, GATEWAY, LAST, RATE, WINDOW, count, of
from exporter.liveness import default_window

NEVER = -1  # the value in the matrix for a tunnel that never had a handshake
AGING = 180  # seconds; WireGuard rejects packets of older sessions (REJECT_AFTER_TIME)
DISAGREE = 60.0  # seconds; a larger difference is not explained by the time between scrapes
OURS = 'organisation=~"$organisation"'


def tunnels(expression: str) -> str:
    """Series of peers that are gateways, by the gateway that reports them (`from`) and the peer (`to`).

    The peer's gateway is the one with the peer's public key on an interface; if several have it, any of them.
    """
    near = f'label_replace({of(GATEWAY, OURS)}, "from", "$1", "gateway", "(.*)")'
    far = f'label_replace({of(GATEWAY, OURS)}, "to", "$1", "gateway", "(.*)")'
    return (
        f"max by (from, to) (\n  {expression}\n  * on (job, instance, interface) group_left (from) {near}"
        f"\n  * on (public_key) group_left (to) topk by (public_key) (1, {far})\n)"
    )


def both_ways(expression: str) -> str:
    """The same series with `from` and `to` exchanged."""
    turned = f'label_replace({expression}, "turned", "$1", "from", "(.*)")'
    turned = f'label_replace({turned}, "from", "$1", "to", "(.*)")'
    return f'max by (from, to) (label_replace({turned}, "to", "$1", "turned", "(.*)"))'


STALE = tunnels(f"({of(AGE)} > {of(WINDOW)})")
KNOWN = tunnels(of(LAST))
AGES = f"{tunnels(of(AGE))}\nor {tunnels(f'({of(LAST)} == 0)')} - 1"


def dashboard() -> Dashboard:
    return board(
        links.MESH,
        "Mesh",
        "Tunnels between gateways: which are down, and do both ends agree?",
        FLEET,
        {"Tunnels": [*_figures(), _ages(), _one_sided()], "Traffic": [_traffic(), _over_time()]},
    )


def _figures() -> list[Panel]:
    return [
        stat_panel(
            "Tunnel ends",
            "How many tunnel ends are there? Each tunnel has two.",
            {"ends": count(KNOWN)},
            span=8,
        ),
        stat_panel(
            "Tunnel ends down",
            "How many tunnel ends have a handshake older than their window, or never had one?",
            {"stale": count(STALE), "never": count(f"{KNOWN} == 0")},
            thresholds=limits(red=1),
            span=8,
        ),
        stat_panel(
            "One-sided tunnels",
            "How many tunnel ends are configured on one gateway only?",
            {"one-sided": count(f"{KNOWN}\nunless {both_ways(KNOWN)}")},
            thresholds=limits(orange=1),
            span=8,
        ),
    ]


def _ages() -> Panel:
    return matrix(
        "Handshake age by tunnel",
        "How long ago did the gateway in the row have a handshake with the gateway in the column? Both "
        "directions should agree; red is older than the window of a peer without a keepalive.",
        AGES,
        row="from",
        column="to",
        unit="s",
        thresholds=limits(orange=AGING, red=default_window(0)),
        mapping=words({NEVER: ("never", "dark-red")}),
    )


def _one_sided() -> Panel:
    ages = tunnels(of(AGE))
    return table_panel(
        "Tunnels whose ends disagree",
        "For which tunnels do the two ends report different handshake ages? Both ends take part in the same "
        f"handshakes, so their ages should differ by less than {DISAGREE:g} s.",
        [f"abs({ages} - {both_ways(ages)}) > {DISAGREE:g}"],
        [
            Column("from", "From"),
            Column("to", "To"),
            Column("Value", "Difference", "s"),
        ],
        sort="Difference",
        empty="Both ends of every tunnel agree",
        height=6,
    )


def _traffic() -> Panel:
    return matrix(
        "Throughput by tunnel",
        "How much does the gateway in the row receive from the gateway in the column?",
        tunnels(of(RATE, DIRECTIONS["received"])),
        row="from",
        column="to",
        unit="Bps",
        span=12,
    )


def _over_time() -> Panel:
    return graph(
        "Handshake age over time",
        "When did a tunnel end lose its connection? While a tunnel carries traffic, the age stays near or "
        "below 120 s.",
        {"{{from}} of {{to}}": tunnels(of(AGE))},
        "s",
        thresholds=limits("transparent", red=default_window(0)),
        height=10,
    )
