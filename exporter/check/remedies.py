"""How to fix a failed reading: the exact command or setting, by the `reason` of the `Reading`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from shlex import quote

from exporter.model import Reading
from exporter.sourcenames import UAPI, is_netlink, namespace_of


def remedy_of(reading: Reading, uapi_directory: Path) -> str:
    """The remedy in one line; "" = the reading succeeded."""
    if reading.ok:
        return ""
    name = reading.interface.rpartition("/")[2]
    socket = quote(str(uapi_directory / f"{name}.sock"))
    unit = quote(f"wg-quick@{name}")
    namespace = namespace_of(reading.source)
    slow = f"restart the process behind {socket}, or " if reading.source == UAPI else ""
    remedies = {
        "permission": _permission(reading, uapi_directory),
        "module": "run `modprobe wireguard` as root, and write `wireguard` to "
        "/etc/modules-load.d/wireguard.conf; on a host without WireGuard in the kernel, set "
        "`sources.netlink: false`",
        "vanished": f"run `systemctl start {unit}`, unless the interface was removed on purpose",
        "interrupted": "raise `sources.dump_retries`, or stop the program that keeps changing the peers",
        "timeout": f"{slow}raise `sources.timeout`",
        "stale-socket": f"run `systemctl restart {unit}` if the interface is wanted, otherwise `rm {socket}`",
        "namespace": f"run `ip netns add {quote(namespace)}`, or remove {namespace} from `namespaces`",
    }
    unknown = f"compare with `wg show {quote(name)}`; if that works, please report a bug"
    return remedies.get(reading.reason, unknown)


def _permission(reading: Reading, uapi_directory: Path) -> str:
    if is_netlink(reading.source):
        return capability_remedy(
            "CAP_NET_ADMIN", *(("CAP_SYS_ADMIN",) if namespace_of(reading.source) else ())
        )
    if not reading.interface:
        return f"run as root (`sudo`), or run `setfacl -m u:{user()}:rx {quote(str(uapi_directory))}`"
    path = quote(str(uapi_directory / f"{reading.interface}.sock"))
    return f"run as root (`sudo`), or run `setfacl -m u:{user()}:rw {path}`"


def capability_remedy(*capabilities: str) -> str:
    """How a service or a user gets capabilities."""
    return f"run as root (`sudo`), or set `AmbientCapabilities={' '.join(capabilities)}` in the systemd unit"


def user() -> str:
    """The name of the effective user, or its number if it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
