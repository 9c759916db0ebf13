"""Public keys: each has exactly one text."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from exporter.directory.publickey import is_public_key


@given(st.binary(min_size=32, max_size=32))
def test_canonical_keys(key: bytes) -> None:
    """Every 32 bytes have exactly one text: other unused bits or another padding is no public key."""
    text = base64.b64encode(key).decode()
    assert is_public_key(text)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = alphabet.index(text[42])
    assert not any(is_public_key(f"{text[:42]}{alphabet[at + unused]}=") for unused in (1, 2, 3))
    assert not any(is_public_key(other) for other in (text[:43], f"{text}=", f" {text}", f"{text}\n"))


@given(
    st.one_of(st.text(max_size=50), st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()))
)
def test_is_public_key_of_any_text(text: str) -> None:
    """A text that is accepted decodes to 32 bytes that encode to the same text; no text raises."""
    if is_public_key(text):
        raw = base64.b64decode(text)
        assert (len(raw), base64.b64encode(raw).decode()) == (32, text)
