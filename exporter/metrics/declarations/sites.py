"""The families of the native schema about the sites of the directory: where they are, for a map."""

from __future__ import annotations

from exporter.metrics.declarations.family import Family

LATITUDE = Family(
    "wireguard_site_latitude_degrees", "gauge", "Latitude of a site of the directory; north is positive."
)
LONGITUDE = Family(
    "wireguard_site_longitude_degrees", "gauge", "Longitude of a site of the directory; east is positive."
)
SITE_FAMILIES = (LATITUDE, LONGITUDE)
