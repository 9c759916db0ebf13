"""Links between dashboards, from rows of tables and lines of graphs, and the table columns that have them."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType

from dashboards.fields import Column

FLEET, GATEWAY, PEER = "argus-fleet", "argus-gateway", "argus-peer"
MESH, SECURITY, EXPORTER = "argus-mesh", "argus-security", "argus-exporter"


def to(title: str, uid: str, **values: str) -> DashboardLink:
    """A link that keeps data source, job and time range. `values`: the field for each variable to set.

    Each value is percent-encoded, because a plus sign in a public key would arrive as a space.
    """
    kept = ["${datasource:queryparam}", "${job:queryparam}"]
    chosen = [f"var-{name}=${{{value}:percentencode}}" for name, value in values.items()]
    url = f"/d/{uid}?{'&'.join((*kept, *chosen))}&${{__url_time_range}}"
    return DashboardLink(title=title, type_val=DashboardLinkType.LINK, url=url)


ROW_TO_GATEWAY = to("Gateway", GATEWAY, instance="__data.fields.instance")
ROW_TO_PEER = to(
    "Peer",
    PEER,
    instance="__data.fields.instance",
    interface="__data.fields.interface",
    peer="__data.fields.public_key",
)
LINE_TO_GATEWAY = to("Gateway", GATEWAY, instance="__field.labels.instance")
LINE_TO_PEER = to(
    "Peer",
    PEER,
    instance="__field.labels.instance",
    interface="__field.labels.interface",
    peer="__field.labels.public_key",
)

PEER_COLUMNS = (Column("peer", "Peer", link=ROW_TO_PEER), Column("site", "Site"))
GATEWAY_COLUMNS = (Column("instance", "Gateway", link=ROW_TO_GATEWAY), Column("interface", "Interface"))
KEY_COLUMN = Column("public_key", "Public key")
