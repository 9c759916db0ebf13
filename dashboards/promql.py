"""PromQL fragments that panels share.

Selectors match the variables `job` and `instance`. Names and expectations of peers are labels of
`wireguard_peer_info` and are joined on `KEY`. Metrics with a colon in their names are recorded by
alerts/rules.
"""

from __future__ import annotations

KEY = "job, instance, interface, public_key"  # the labels that identify a peer on a gateway
PEERS = 'interface=~"$interface"'  # peers on the selected interfaces
PEER = 'interface=~"$interface", public_key=~"$peer"'  # the selected peers

AGE = "wireguard_peer_handshake_age_seconds"
WINDOW = "wireguard_peer_stale_after_seconds"
LAST = "wireguard_peer_last_handshake_timestamp_seconds"
INFO = "wireguard_peer_info"
ENDPOINT_CHANGES = "wireguard_peer_endpoint_changes_total"
AGE_AND_NAMES = "peer:wireguard_handshake_age:seconds"
RATE = "peer_direction:wireguard_bytes:rate5m"
VOLUME = "peer_direction:wireguard_bytes:increase1d"
BASELINE = "peer_direction:wireguard_bytes_baseline:max"
UNREACHABLE = "interface_site:wireguard_peers_unreachable:count"
EXPECTED = "interface_site:wireguard_peers_expected:count"
DIRECTIONS = {"received": 'direction="receive"', "sent": 'direction="transmit"'}
GATEWAY = "wireguard_interface_info"
ALWAYS_ON = 'expected="always-on"'
STATES = ("never", "active", "idle", "stale")  # indexes are the values of `state`


def of(metric: str, *matchers: str) -> str:
    """The series of a metric on the selected gateways."""
    chosen = ('job=~"$job"', 'instance=~"$instance"', *matchers)
    return f"{metric}{{{', '.join(chosen)}}}"


def alerts(metric: str, *matchers: str) -> str:
    """Alerts of the selected gateways, and alerts without a gateway, such as those of a site. Without the
    watchdog."""
    chosen = (
        'job=~"$job"',
        'instance=~"$instance|"',
        'alertname=~"WireGuard.+"',
        'severity!="none"',
        *matchers,
    )
    return f"{metric}{{{', '.join(chosen)}}}"


def firing(*matchers: str) -> str:
    return alerts("ALERTS", 'alertstate="firing"', *matchers)


def busiest_day(*matchers: str) -> str:
    """The volume of the busiest day of peers, which is recorded once an hour."""
    return f"last_over_time({of(BASELINE, *matchers)}[3h])"


def rate(metric: str, *matchers: str) -> str:
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def increase(metric: str, span: str, *matchers: str) -> str:
    return f"increase({of(metric, *matchers)}[{span}])"


def count(expression: str) -> str:
    """The number of series; 0 if there is none."""
    return f"count({expression}) or vector(0)"


def named(expression: str, *matchers: str, labels: str = "peer, site") -> str:
    """Add labels of `wireguard_peer_info` to series of peers, and keep only peers that match `matchers`."""
    return f"{expression}\n* on ({KEY}) group_left ({labels})\n{of(INFO, *matchers)}"


def in_organisation(expression: str) -> str:
    """Remove gateways of other organisations. A gateway of an unknown organisation is kept."""
    others = of(GATEWAY, 'organisation!~"$organisation"')
    return f"{expression}\nunless on (job, instance) last_over_time({others}[1d])"


def threshold(name: str) -> str:
    """The recorded series of a threshold in alerts/rules/thresholds.yml."""
    return f"threshold:wireguard_{name}"


def stale(*matchers: str) -> str:
    """Handshake ages of always-on peers that are stale, with the labels of `wireguard_peer_info`."""
    return f"{of(AGE_AND_NAMES, ALWAYS_ON, *matchers)}\n> on ({KEY}) group_left () {of(WINDOW)}"


def state(*matchers: str) -> str:
    """The state of each peer, as an index of `STATES`."""
    late = f"({of(AGE, *matchers)} > bool {of(WINDOW, *matchers)})"
    always_on = of(INFO, *matchers, ALWAYS_ON)
    return (
        f"1 + {late}\n* on ({KEY}) group_left ()\n(2 * {always_on} or on ({KEY}) {of(INFO, *matchers)})"
        f"\nor ({of(LAST, *matchers)} == 0)"
    )
