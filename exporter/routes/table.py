"""Every route of the exporter."""

from __future__ import annotations

from exporter.routes import health, metrics
from exporter.routes.health import Ready, healthy_route, ready_route
from exporter.routes.landing import landing_route
from exporter.routes.metrics import Scrape, metrics_route
from exporter.web.routing.route import Route

LINKS = (
    (metrics.PATH, "metrics, for Prometheus"),
    (health.READY, "whether the first reading is done"),
    (health.HEALTHY, "whether this server answers"),
)


def exporter_routes(
    scrape: Scrape, ready: Ready, max_scrapes: int, scrape_seconds: float
) -> tuple[Route, ...]:
    """The routes. `max_scrapes` scrapes may be under way at once, each for up to `scrape_seconds`."""
    return (
        metrics_route(scrape, max_scrapes, scrape_seconds),
        landing_route(LINKS),
        healthy_route(),
        ready_route(ready),
    )
