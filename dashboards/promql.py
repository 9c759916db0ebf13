"""Pieces of PromQL that panels share.

Selectors keep to the variables `job` and `instance`; names and expectations stand on `wireguard_peer_info`
alone and are joined by `KEY`. Names with a colon are recorded by alerts/rules.
"""

from __future__ import annotations

KEY = "job, instance, interface, public_key"  # of a peer on a gateway
PEERS = 'interface=~"$interface"'  # of the chosen interfaces
PEER = 'interface=~"$interface", public_key=~"$peer"'  # the chosen one

AGE = "wireguard_peer_handshake_age_seconds"
WINDOW = "wireguard_peer_stale_after_seconds"
LAST = "wireguard_peer_last_handshake_timestamp_seconds"
INFO = "wireguard_peer_info"
MOVES = "wireguard_peer_endpoint_changes_total"
AGE_AND_NAMES = "peer:wireguard_handshake_age:seconds"
RATE = "peer_direction:wireguard_bytes:rate5m"
VOLUME = "peer_direction:wireguard_bytes:increase1d"
BASELINE = "peer_direction:wireguard_bytes_baseline:max"
UNREACHABLE = "interface_site:wireguard_peers_unreachable:count"
EXPECTED = "interface_site:wireguard_peers_expected:count"
DIRECTIONS = {"received": 'direction="receive"', "sent": 'direction="transmit"'}
GATEWAY = "wireguard_interface_info"
OWED = 'expected="always-on"'
STATES = ("never", "active", "idle", "stale")  # the numbers that `state` gives


def of(metric: str, *matchers: str) -> str:
    """The series of the chosen gateways."""
    chosen = ('job=~"$job"', 'instance=~"$instance"', *matchers)
    return f"{metric}{{{', '.join(chosen)}}}"


def alerts(metric: str, *matchers: str) -> str:
    """Alerts of the chosen gateways and of none in particular, such as a site's; without the one that always
    fires."""
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


def rate(metric: str, *matchers: str) -> str:
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def increase(metric: str, span: str, *matchers: str) -> str:
    return f"increase({of(metric, *matchers)}[{span}])"


def count(expression: str) -> str:
    """How many series there are: 0, and not nothing."""
    return f"count({expression}) or vector(0)"


def named(expression: str, *matchers: str, labels: str = "peer, site") -> str:
    """Series of peers with what the directory says of them; those alone that `matchers` let pass."""
    return f"{expression}\n* on ({KEY}) group_left ({labels})\n{of(INFO, *matchers)}"


def within(expression: str) -> str:
    """Without gateways that are known to be another organisation's. One that is down is still there."""
    others = of(GATEWAY, 'organisation!~"$organisation"')
    return f"{expression}\nunless on (job, instance) last_over_time({others}[1d])"


def threshold(name: str) -> str:
    """A number that alerts compare with, as alerts/rules/thresholds.yml has it now."""
    return f"threshold:wireguard_{name}"


def overdue(*matchers: str) -> str:
    """The ages of always-on peers' handshakes that are older than their peer's window, with names."""
    return f"{of(AGE_AND_NAMES, OWED, *matchers)}\n> on ({KEY}) group_left () {of(WINDOW)}"


def state(*matchers: str) -> str:
    """The state of each peer, as a number of `STATES`."""
    late = f"({of(AGE, *matchers)} > bool {of(WINDOW, *matchers)})"
    owed = of(INFO, *matchers, OWED)
    return (
        f"1 + {late}\n* on ({KEY}) group_left ()\n(2 * {owed} or on ({KEY}) {of(INFO, *matchers)})"
        f"\nor ({of(LAST, *matchers)} == 0)"
    )
