"""Content codings a client accepts: RFC 9110, section 12.5.3."""

from __future__ import annotations


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is acceptable and not liked less than plain bytes; no header means plain bytes."""
    weights = dict(map(_weighted, accept_encoding.split(",")))
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _weighted(element: str) -> tuple[str, float]:
    """`" gzip ; q=0.5"` → `("gzip", 0.5)`; a weight that is no number counts as a refusal."""
    coding, *parameters = (part.strip().lower() for part in element.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return coding, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return coding, 0.0
    return coding, 1.0
