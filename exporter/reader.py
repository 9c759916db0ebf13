"""The gateway, with the sources that the configuration enables."""

from __future__ import annotations

from collections.abc import Callable

from exporter.config import Config
from exporter.sources.gateway import Gateway


def gateway_of(settings: Config, wanted: Callable[[str], bool] | None = None) -> Gateway:
    """The gateway to read. `wanted` selects interfaces by label; None = as the configuration says."""
    sources = settings.sources
    return Gateway(
        settings.gateway,
        wanted=wanted or settings.interfaces.wanted,
        namespaces=settings.namespaces,
        all_namespaces=settings.all_namespaces,
        netlink=sources.netlink,
        uapi_directory=sources.uapi_directory if sources.uapi else None,
        timeout=sources.timeout,
        retries=sources.dump_retries,
    )
