"""Numbers and names as text for a terminal."""

from __future__ import annotations

import io
import sys

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def plain(text: str) -> str:
    """The text with every unprintable character escaped, such as `\\x1b`: it moves no cursor and changes no
    colour or direction. Names come from files, and from users that may create interfaces."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def write_anything() -> None:
    """Makes standard output escape characters that its encoding does not have. No print raises."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def age_text(age: float | None) -> str:
    """Seconds in the two largest units: `12s`, `3m 4s`, `2d 1h`. None is `never`, -12 is `in 12s`."""
    if age is None:
        return "never"
    if age < 0:
        return f"in {age_text(-age)}"
    left = int(age)
    parts: list[str] = []
    for unit, seconds in _UNITS:
        if left >= seconds or parts or unit == "s":
            parts.append(f"{left // seconds}{unit}")
            left %= seconds
    return " ".join(parts[:2])


def bytes_text(count: float | None) -> str:
    """`0 B`, `999 B`, `1.5 KiB`, `23.0 GiB`; "" for None."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def count_text(number: int, noun: str) -> str:
    """`1 peer`, `10,000 peers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
