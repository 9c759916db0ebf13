"""The `Authorization` header of basic authentication (RFC 7617)."""

from __future__ import annotations

import base64


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """User and password of an `Authorization` header; None = the header has no basic credentials."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon else None
