"""Where the sites of the directory are, for a map. Coordinates are values, and no labels."""

from __future__ import annotations

from exporter.directory.entry import Directory
from exporter.metrics.families import Family, Samples

LATITUDE = Family(
    "wireguard_site_latitude_degrees", "gauge", "Latitude of a site of the directory; north is positive."
)
LONGITUDE = Family(
    "wireguard_site_longitude_degrees", "gauge", "Longitude of a site of the directory; east is positive."
)
SITE_FAMILIES = (LATITUDE, LONGITUDE)


def site_samples(directory: Directory) -> dict[str, Samples]:
    """The samples of both families, two for each site that the directory has a place for."""
    sites = directory.sites.values()
    return {
        LATITUDE.name: [({"site": site.name}, site.latitude) for site in sites],
        LONGITUDE.name: [({"site": site.name}, site.longitude) for site in sites],
    }
