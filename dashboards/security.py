"""The dashboard for security: old and unknown keys, and changes in the configuration of peers."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards import links, records
from dashboards.board import FLEET, GATEWAY, RECORDS, board
from dashboards.fields import Column, limits
from dashboards.panels import stat_panel, table_panel
from dashboards.promql import ENDPOINT_CHANGES, count, firing, in_organisation, increase, named, of, threshold
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
        "Which keys are old or unknown, and what changed in the configuration of peers?",
        (datasource, RECORDS, *others, GATEWAY),
        {
            "Overview": [*_figures(), _unknown(), _endpoint_counts()],
            "Changes": [_added_and_removed(), _allowed_ips(), _endpoints()],
            "Keys": [_key_ages(), _interface_key_ages(), _without_preshared_key()],
        },
        since="now-7d",
    )


def _figures() -> list[Panel]:
    def figure(title: str, question: str, expression: str) -> Panel:
        queries = {title: count(in_organisation(expression))}
        return stat_panel(title, question, queries, thresholds=limits(red=1))

    too_old = f"{KEY_AGE} > 86400 * scalar({threshold('peer_key_age:days')})"
    return [
        figure("Security alerts", "How many security alerts fire?", firing('concern="security"')),
        figure("Unknown keys", "How many configured keys are in no directory file?", of(UNKNOWN)),
        figure("Keys too old", "How many keys have been in use for longer than the limit?", too_old),
        figure(
            "Allowed IPs changed",
            "For how many peers did the allowed IPs change in the last 24 hours?",
            f"time() - {of('wireguard_peer_allowed_ips_changed_timestamp_seconds')} < 86400",
        ),
    ]


def _unknown() -> Panel:
    return table_panel(
        "List of unknown keys",
        "Which configured keys are in no directory file?",
        [in_organisation(of(UNKNOWN))],
        [*links.GATEWAY_COLUMNS, links.KEY_COLUMN],
        empty="All keys are in the directory",
        span=10,
    )


def _endpoint_counts() -> Panel:
    changed = f"({increase(ENDPOINT_CHANGES, '1d')} > 0)"
    return table_panel(
        "Most endpoint changes",
        "Which endpoints changed most often in the last 24 hours? Two hosts with one key cause constant "
        "changes.",
        [f"topk(20, {in_organisation(named(changed))})"],
        [
            *links.PEER_COLUMNS,
            *links.GATEWAY_COLUMNS,
            Column("Value", "Endpoint changes", "short"),
            links.KEY_COLUMN,
        ],
        sort="Endpoint changes",
        empty="No endpoint changed in the last 24 hours",
        span=14,
    )


def _added_and_removed() -> Panel:
    return table_panel(
        "New and removed peers",
        "Which peers were added or removed in this time range?",
        Sql(records.ADDED_AND_REMOVED),
        [WHEN, Column("happened", "Event"), *NAMED, links.KEY_COLUMN],
        empty="No peer was added or removed",
    )


def _change(title: str, question: str, sql: str, empty: str) -> Panel:
    columns = [
        WHEN,
        Column("name", "Peer"),
        *PLACE,
        Column("before", "Before"),
        Column("after", "After"),
        links.KEY_COLUMN,
    ]
    return table_panel(title, question, Sql(sql), columns, empty=empty)


def _allowed_ips() -> Panel:
    return _change(
        "Changes of allowed IPs",
        "Which allowed IPs changed in this time range? They define which addresses a peer may use.",
        records.ALLOWED_IP_CHANGES,
        "No allowed IPs changed",
    )


def _endpoints() -> Panel:
    return _change(
        "Changes of endpoints",
        "Which endpoints changed in this time range? This is normal for roaming peers, but not for sites.",
        records.ENDPOINT_CHANGES,
        "No endpoint changed",
    )


def _key_ages() -> Panel:
    return table_panel(
        "Oldest keys of peers",
        "Which keys of peers have been in use for the longest time, according to the records?",
        [f"topk(100, {in_organisation(named(KEY_AGE))})"],
        [*links.PEER_COLUMNS, *links.GATEWAY_COLUMNS, Column("Value", "Age", "s"), links.KEY_COLUMN],
        sort="Age",
        empty="No peer is recorded",
        span=14,
    )


def _interface_key_ages() -> Panel:
    return table_panel(
        "Oldest keys of interfaces",
        "Which keys of interfaces have been in use for the longest time, according to the records?",
        Sql(records.INTERFACE_KEY_AGES),
        [*PLACE, Column("age", "Age", "s"), links.KEY_COLUMN],
        sort="Age",
        empty="No interface with a key is recorded",
        span=10,
    )


def _without_preshared_key() -> Panel:
    return table_panel(
        "Peers without a preshared key",
        "Which peers have no preshared key? A preshared key protects traffic that is captured today from "
        "future quantum computers.",
        Sql(records.WITHOUT_PRESHARED_KEY),
        [*NAMED, links.KEY_COLUMN],
        empty="Every peer has a preshared key",
    )
