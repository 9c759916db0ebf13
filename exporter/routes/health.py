"""`/-/healthy` and `/-/ready`: for load balancers, service managers and people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus

from exporter.web.messages.reply import Reply, text
from exporter.web.messages.request import Request
from exporter.web.routing.route import Route

HEALTHY = "/-/healthy"
READY = "/-/ready"

Ready = Callable[[], tuple[bool, Sequence[str]]]
"""(whether the exporter is ready, details or the reasons why not)"""


def healthy_route() -> Route:
    """200 whenever the server answers at all."""

    async def healthy(_: Request) -> Reply:
        return text(HTTPStatus.OK, ["healthy"])

    return Route(HEALTHY, healthy)


def ready_route(ready: Ready) -> Route:
    """200 when the exporter is ready, and otherwise 503 with the reasons."""

    async def readiness(_: Request) -> Reply:
        is_ready, details = ready()
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return text(status, ["ready" if is_ready else "not ready", *details])

    return Route(READY, readiness)
