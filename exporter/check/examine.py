"""All checks of a valid configuration."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.check.files import directory, web_configuration
from exporter.check.finding import Finding
from exporter.check.host import host
from exporter.check.listening import addresses, protection
from exporter.check.records import records
from exporter.config import Config


def examine(settings: Config) -> Iterator[Finding]:
    """Every finding, in the order in which the daemon uses what is checked."""
    yield from directory(settings.directory)
    yield from web_configuration(settings)
    yield from host(settings)
    yield from addresses(settings)
    yield from protection(settings)
    yield from records(settings)
