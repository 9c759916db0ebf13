"""Public keys as text."""

from __future__ import annotations

import binascii


def is_public_key(text: str) -> bool:
    """Whether the text is base64 of 32 bytes as `wg` writes it: canonical, so equal keys are equal texts."""
    try:
        key = binascii.a2b_base64(text)
    except ValueError:
        return False
    return len(key) == 32 and binascii.b2a_base64(key, newline=False).decode() == text
