"""What a client accepts: the headers Accept and Accept-Encoding (RFC 9110, section 12.5)."""

from __future__ import annotations

OPENMETRICS = "application/openmetrics-text"
TEXT = "text/plain"


def weights(header: str) -> dict[str, float]:
    """The weight, 0 to 1, of each media type or content coding in a header, in lower case.

    An element without a weight has 1, and one whose weight is not a number has 0. The highest weight
    counts when an element is repeated, for example with different parameters.

    >>> weights("gzip;q=0.5, br")
    {'gzip': 0.5, 'br': 1.0}
    """
    found: dict[str, float] = {}
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        found[name] = max(_weight(parameters), found.get(name, 0.0))
    return found


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return max(0.0, min(float(value), 1.0))  # in this order, which makes 0 of "nan"
            except ValueError:
                return 0.0
    return 1.0


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics, with at least the weight of plain text."""
    accepted = weights(accept)
    openmetrics = accepted.get(OPENMETRICS, 0.0)
    return openmetrics > 0 and openmetrics >= accepted.get(TEXT, 0.0)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip, with at least the weight of an uncompressed answer.

    Without the header, the answer is not compressed.
    """
    accepted = weights(accept_encoding)
    gzip = accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", 0.0)))
    return gzip > 0 and gzip >= accepted.get("identity", 0.0)
