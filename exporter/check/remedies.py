"""How to fix a reading that failed: the exact command or setting, by the `reason` of the `Reading`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from shlex import quote

from exporter.model import Reading
from exporter.sourcenames import UAPI, is_netlink, namespace_of


def remedy_of(reading: Reading, uapi_directory: Path) -> str:
    """One line to act on; "" = the reading succeeded."""
    if reading.ok:
        return ""
    name = reading.interface.rpartition("/")[2]
    socket = quote(str(uapi_directory / f"{name}.sock"))
    unit = quote(f"wg-quick@{name}")
    namespace = namespace_of(reading.source)
    slow = f"restart the process behind {socket}, or " if reading.source == UAPI else ""
    remedies = {
        "permission": _permission(reading, uapi_directory),
        "module": "`modprobe wireguard` as root, and `wireguard` in /etc/modules-load.d/wireguard.conf; "
        "on a host without kernel WireGuard `sources.netlink: false`",
        "vanished": f"`systemctl start {unit}`, unless it was removed on purpose",
        "interrupted": "raise `sources.dump_retries`, or stop what keeps changing the peers",
        "timeout": f"{slow}raise `sources.timeout`",
        "stale-socket": f"`systemctl restart {unit}` if the interface is wanted, otherwise `rm {socket}`",
        "namespace": f"`ip netns add {quote(namespace)}`, or take {namespace} out of `namespaces`",
    }
    unknown = f"compare with `wg show {quote(name)}`; if that works, this is a defect: please report it"
    return remedies.get(reading.reason, unknown)


def _permission(reading: Reading, uapi_directory: Path) -> str:
    if is_netlink(reading.source):
        return capability_remedy(
            "CAP_NET_ADMIN", *(("CAP_SYS_ADMIN",) if namespace_of(reading.source) else ())
        )
    if not reading.interface:
        return f"run as root (`sudo`), or `setfacl -m u:{user()}:rx {quote(str(uapi_directory))}`"
    path = quote(str(uapi_directory / f"{reading.interface}.sock"))
    return f"run as root (`sudo`), or `setfacl -m u:{user()}:rw {path}`"


def capability_remedy(*capabilities: str) -> str:
    """How a service, or a person, comes by capabilities."""
    return f"run as root (`sudo`), or set `AmbientCapabilities={' '.join(capabilities)}` in the systemd unit"


def user() -> str:
    """The name of the effective user, or its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
