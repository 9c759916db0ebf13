"""An address that the server listens on."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`host` is a name, or an address without brackets; `port` 0 = any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """`127.0.0.1:9586`, `[::1]:9586` or `localhost:9586`. Raises ValueError, which says what is wrong."""
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if text.startswith(":") and not host:
            raise ValueError(f'for every address of this host list "0.0.0.0{text}" and "[::]{text}"')
        if not _is_host(host[1:-1] if bracketed else host, bracketed=bracketed):
            raise ValueError('must be host:port, such as "127.0.0.1:9586" or "[::1]:9586"')
        if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("must end in a port from 0 to 65535")
        return cls(host[1:-1] if bracketed else host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this host can reach the address."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address without brackets is the own host."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    # For Python 3.13, ::ffff:127.0.0.1 is a loopback address too; for older versions, it is not.
    return address.is_loopback and not (address.version == 6 and address.ipv4_mapped)


def _is_host(host: str, *, bracketed: bool) -> bool:
    """An IPv6 address in brackets; without them an IPv4 address, or a name that does not end in a number."""
    try:
        return (ipaddress.ip_address(host).version == 6) == bracketed
    except ValueError:
        last = host.rpartition(".")[2]
        return not bracketed and not last.isdigit() and _HOST_NAME.fullmatch(host) is not None
