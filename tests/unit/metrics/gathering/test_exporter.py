"""The samples of the exporter about itself."""

from __future__ import annotations

from exporter import __version__
from exporter.health import Health
from exporter.metrics.declarations import exporter as own
from exporter.metrics.gathering.exporter import exporter_samples
from exporter.metrics.gathering.inputs import Serving
from exporter.model import Reading, Snapshot
from tests.kit.gateways import NOW


def test_failing_readings_say_why() -> None:
    """A failed reading is 0 in read_success and has a series in read_failing with its reason."""
    good, bad = Reading("netlink", "", 0.5), Reading("uapi", "tun0", 5.0, "timeout", "no answer", 2)
    health = Health()
    snapshot = Snapshot("gw", NOW, (), (good, bad))
    health.update(snapshot)
    health.update(snapshot)
    samples = exporter_samples(snapshot, health, Serving())
    netlink, tun0 = {"source": "netlink", "interface": ""}, {"source": "uapi", "interface": "tun0"}
    assert samples[own.READ_SUCCESS] == [(netlink, 1), (tun0, 0)]
    assert samples[own.READ_DURATION] == [(netlink, 0.5), (tun0, 5.0)]
    assert samples[own.READ_FAILING] == [({**tun0, "reason": "timeout"}, 1)]
    assert samples[own.READ_ERRORS] == [({"source": "uapi", "reason": "timeout"}, 2)]
    assert samples[own.DUMP_RETRIES] == [({"source": "netlink"}, 0), ({"source": "uapi"}, 4)]
    assert samples[own.READINGS] == [({}, 2)]
    assert samples[own.INTERFACES] == [({}, 0)]
    assert samples[own.BUILD_INFO][0][0]["version"] == __version__


def test_first_page_has_no_scrape_before_it() -> None:
    """The duration of the previous scrape is absent on the first page."""
    samples = exporter_samples(Snapshot("gw", NOW), Health(), Serving())
    assert samples[own.SCRAPE_DURATION] == []
