"""Names as PostgreSQL can store them."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text in a form that PostgreSQL accepts: bytes that are not UTF-8 are escaped, NUL is replaced."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="backslashreplace").decode().replace("\0", "\ufffd")
