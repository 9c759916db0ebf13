"""Tunnels between gateways, seen from both of their ends."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links
from dashboards.board import FLEET, board
from dashboards.fields import Column, limits, words
from dashboards.panels import graph, matrix, stat_panel, table_panel
from dashboards.promql import AGE, DIRECTIONS, GATEWAY, LAST, RATE, WINDOW, count, of
from exporter.liveness import default_window

NEVER = -1  # what the matrix has for a tunnel without a handshake
AGING = 180  # seconds; a session is refused from then on (REJECT_AFTER_TIME)
DISAGREE = 60.0  # seconds
OURS = 'organisation=~"$organisation"'


def tunnels(expression: str) -> str:
    """Series of peers that are gateways themselves, by the gateway that says it and the one it says it of.

    The far end is the gateway whose interface has the peer's public key; of several with one key, any.
    """
    near = f'label_replace({of(GATEWAY, OURS)}, "from", "$1", "gateway", "(.*)")'
    far = f'label_replace({of(GATEWAY, OURS)}, "to", "$1", "gateway", "(.*)")'
    return (
        f"max by (from, to) (\n  {expression}\n  * on (job, instance, interface) group_left (from) {near}"
        f"\n  * on (public_key) group_left (to) topk by (public_key) (1, {far})\n)"
    )


def both_ways(expression: str) -> str:
    """The same series as their other end has them."""
    turned = f'label_replace({expression}, "turned", "$1", "from", "(.*)")'
    turned = f'label_replace({turned}, "from", "$1", "to", "(.*)")'
    return f'max by (from, to) (label_replace({turned}, "to", "$1", "turned", "(.*)"))'


LATE = tunnels(f"({of(AGE)} > {of(WINDOW)})")
KNOWN = tunnels(of(LAST))
AGES = f"{tunnels(of(AGE))}\nor {tunnels(f'({of(LAST)} == 0)')} - 1"


def dashboard() -> Dashboard:
    return board(
        links.MESH,
        "Mesh",
        "Tunnels between gateways: which are down, and do both ends say so?",
        FLEET,
        {"Tunnels": [*_figures(), _ages(), _one_sided()], "Traffic": [_traffic(), _over_time()]},
    )


def _figures() -> list[Panel]:
    return [
        stat_panel(
            "Ends",
            "How many ends of tunnels are there? Each tunnel has two.",
            {"ends": count(KNOWN)},
            span=8,
        ),
        stat_panel(
            "Down",
            "How many ends have not had a handshake for longer than their window, or never had one?",
            {"stale": count(LATE), "never": count(f"{KNOWN} == 0")},
            thresholds=limits(red=1),
            span=8,
        ),
        stat_panel(
            "Half configured",
            "How many ends have no other end?",
            {"without another end": count(f"{KNOWN}\nunless {both_ways(KNOWN)}")},
            thresholds=limits(orange=1),
            span=8,
        ),
    ]


def _ages() -> Panel:
    return matrix(
        "Tunnel age",
        "How long ago was the last handshake, as the gateway of the row says of that of the column? Both "
        "directions of a tunnel should agree; red is older than the window of a peer without a keepalive.",
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
        "Ends that disagree",
        "Which tunnels does one end hold for up and the other for down? Handshakes of both ends are the same "
        f"one, so their ages differ by the time between scrapes and no more than {DISAGREE:g} s.",
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
        "Throughput",
        "How much does the gateway of the row receive from the gateway of the column?",
        tunnels(of(RATE, DIRECTIONS["received"])),
        row="from",
        column="to",
        unit="Bps",
        span=12,
    )


def _over_time() -> Panel:
    return graph(
        "Tunnel ages",
        "When did which end lose its tunnel? One that carries traffic rises to little above 120 s.",
        {"{{from}} of {{to}}": tunnels(of(AGE))},
        "s",
        thresholds=limits("transparent", red=default_window(0)),
        height=10,
    )
