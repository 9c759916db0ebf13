"""Keys and how peers are configured: what is old, unknown, new, gone or changed."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links, records
from dashboards.board import FLEET, GATEWAY, RECORDS, board
from dashboards.fields import Column, limits
from dashboards.panels import stat_panel, table_panel
from dashboards.promql import MOVES, count, firing, increase, named, of, threshold, within
from dashboards.queries import Sql

PLACE = (Column("gateway", "Gateway"), Column("interface", "Interface"))
NAMED = (Column("name", "Peer"), Column("site", "Site"), *PLACE)
WHEN = Column("time", "When", "dateTimeAsIso")
UNKNOWN = "wireguard_peer_unknown"
KEY_AGE = f"(time() - {of('wireguard_peer_first_seen_timestamp_seconds')})"


def dashboard() -> Dashboard:
    datasource, *others = FLEET
    return board(
        links.SECURITY,
        "Security",
        "Which keys are old or unknown, and what was changed in the configuration of peers?",
        (datasource, RECORDS, *others, GATEWAY),
        {
            "Now": [*_figures(), _unknown(), _moving()],
            "Changes": [_come_and_gone(), _allowed_ips(), _endpoints()],
            "Keys": [_key_ages(), _interface_key_ages(), _without_preshared_key()],
        },
        since="now-7d",
    )


def _figures() -> list[Panel]:
    def figure(title: str, question: str, expression: str) -> Panel:
        return stat_panel(title, question, {title: count(within(expression))}, thresholds=limits(red=1))

    too_old = f"{KEY_AGE} > 86400 * scalar({threshold('peer_key_age:days')})"
    return [
        figure("Alerts", "How many security alerts fire?", firing('concern="security"')),
        figure("Unknown keys", "How many configured keys does no directory list?", of(UNKNOWN)),
        figure("Keys too old", "How many keys have been in use for longer than they may?", too_old),
        figure(
            "Allowed IPs changed",
            "Of how many peers were the allowed IPs changed within a day?",
            f"time() - {of('wireguard_peer_allowed_ips_changed_timestamp_seconds')} < 86400",
        ),
    ]


def _unknown() -> Panel:
    return table_panel(
        "Keys that nobody knows",
        "Which keys are configured that no directory lists?",
        [within(of(UNKNOWN))],
        [Column("instance", "Gateway", link=links.ROW_TO_GATEWAY), *links.WHERE[1:], links.KEY],
        empty="The directory lists every key",
        span=10,
    )


def _moving() -> Panel:
    moved = f"({increase(MOVES, '1d')} > 0)"
    return table_panel(
        "Endpoints that move",
        "Whose endpoint moved most in a day? A key in two places moves with every packet.",
        [f"topk(20, {within(named(moved))})"],
        [*links.WHO, *links.WHERE, Column("Value", "Moves", "short"), links.KEY],
        sort="Moves",
        empty="No endpoint moved",
        span=14,
    )


def _come_and_gone() -> Panel:
    return table_panel(
        "New and removed peers",
        "Which peers were added or removed in this time?",
        Sql(records.COME_AND_GONE),
        [WHEN, Column("happened", "What"), *NAMED, links.KEY],
        empty="No peer was added or removed",
    )


def _change(title: str, question: str, sql: str, empty: str) -> Panel:
    columns = [
        WHEN,
        Column("name", "Peer"),
        *PLACE,
        Column("before", "Before"),
        Column("after", "After"),
        links.KEY,
    ]
    return table_panel(title, question, Sql(sql), columns, empty=empty)


def _allowed_ips() -> Panel:
    return _change(
        "Allowed IPs",
        "Whose allowed IPs were changed in this time? They say who may use which address.",
        records.ALLOWED_IP_CHANGES,
        "No allowed IP was changed",
    )


def _endpoints() -> Panel:
    return _change(
        "Endpoints",
        "Whose endpoint was another one in this time? Roaming peers change theirs; sites should not.",
        records.ENDPOINT_CHANGES,
        "No endpoint changed",
    )


def _key_ages() -> Panel:
    return table_panel(
        "Keys of peers",
        "Which keys of peers have been in use for longest, as far as the records go back?",
        [f"topk(100, {within(named(KEY_AGE))})"],
        [*links.WHO, *links.WHERE, Column("Value", "Age", "s"), links.KEY],
        sort="Age",
        empty="The records know no peer",
        span=14,
    )


def _interface_key_ages() -> Panel:
    return table_panel(
        "Keys of interfaces",
        "Which keys of interfaces have been in use for longest, as far as the records go back?",
        Sql(records.INTERFACE_KEY_AGES),
        [*PLACE, Column("age", "Age", "s"), links.KEY],
        sort="Age",
        empty="The records know no interface with a key",
        span=10,
    )


def _without_preshared_key() -> Panel:
    return table_panel(
        "Without a preshared key",
        "Which peers rely on their key pair alone? A preshared key protects what is recorded today against "
        "the quantum computers of tomorrow.",
        Sql(records.WITHOUT_PRESHARED_KEY),
        [*NAMED, links.KEY],
        empty="Every peer has a preshared key",
    )
