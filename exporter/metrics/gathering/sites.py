"""The samples of the families about sites. Coordinates are values, not labels."""

from __future__ import annotations

from exporter.directory.entry import Directory
from exporter.metrics.declarations.content import Tables
from exporter.metrics.declarations.sites import LATITUDE, LONGITUDE


def site_samples(directory: Directory) -> Tables:
    """One sample of each family for each site with coordinates."""
    sites = directory.sites.values()
    return {
        LATITUDE: [({"site": site.name}, site.latitude) for site in sites],
        LONGITUDE: [({"site": site.name}, site.longitude) for site in sites],
    }
