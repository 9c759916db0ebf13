"""The names in a client's certificate: `client_allowed_sans` of the web configuration file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any


def has_allowed_name(certificate: Mapping[str, Any], allowed: tuple[str, ...]) -> bool:
    """Whether a subject alternative name of a certificate, in the form of `getpeercert()`, is in `allowed`.

    DNS names, e-mail addresses and URIs are compared as they are written, IP addresses by value.
    """
    names = certificate.get("subjectAltName", ())
    return any(_plain(kind, value) in allowed for kind, value in names)


def _plain(kind: str, value: str) -> str:
    # OpenSSL writes an IPv6 address in capitals and in full; operators write 2001:db8::1.
    return str(ipaddress.ip_address(value.strip())) if kind == "IP Address" else value
