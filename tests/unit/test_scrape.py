"""Pages for scrapes: readings that simultaneous requests share, and pages that agree."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import re
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from exporter.config import Config, MetricsSettings, MindFlavorSettings, Schema
from exporter.directory.watch import DirectoryWatch
from exporter.metrics.rendering.mdlayher import MDLAYHER_CONTENT_TYPE
from exporter.metrics.rendering.mindflavor import MINDFLAVOR_CONTENT_TYPE
from exporter.metrics.rendering.text import OPENMETRICS, PROMETHEUS
from exporter.model import Snapshot
from exporter.scrape import Scraper
from exporter.sources.gateway import Gateway
from exporter.web.messages.page import Page
from tests.kit.daemon import PATIENCE, Interface, interface
from tests.kit.servers.uapiserver import base64_key

OPEN = "application/openmetrics-text"
NAMED, UNNAMED = f"{1:064x}", f"{2:064x}"
REPLY = (
    f"private_key={'7' * 64}\nlisten_port=51820\n"
    f"public_key={NAMED}\nendpoint=192.0.2.1:51820\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=0\n"
    "rx_bytes=18446744073709551615\ntx_bytes=2\nallowed_ip=10.0.0.1/32\n"
    f"public_key={UNNAMED}\npreshared_key={'8' * 64}\nrx_bytes=3\ntx_bytes=4\nerrno=0\n\n"
)
DIRECTORY = f"""\
peers:
  {base64_key(NAMED)}:
    name: 'Größe "7"'
"""


def wg0_in(folder: Path, *, closed: bool = False) -> contextlib.AbstractContextManager[Interface]:
    """The interface wg0, whose socket is in `folder`."""
    return interface(folder, "wg0", lambda: REPLY, closed=closed)


def config(schema: Schema = "native") -> Config:
    options = MindFlavorSettings(handshake_delay=True, remote_ip=True)
    return Config(gateway="gw", metrics=MetricsSettings(schema=schema, mindflavor=options))


@contextlib.contextmanager
def scraper(folder: Path, schema: Schema = "native", gateway: Gateway | None = None) -> Iterator[Scraper]:
    """A scraper of the sockets in `folder`."""
    names = folder / "directory.yml"
    names.write_text(DIRECTORY)
    made = Scraper(
        gateway or gateway_on(folder),
        config(schema),
        DirectoryWatch([names], [], logging.getLogger("test")),
    )
    try:
        yield made
    finally:
        made.close()


def gateway_on(folder: Path) -> Gateway:
    return Gateway("gw", netlink=False, uapi_directory=folder, timeout=PATIENCE)


def text(page: Page) -> str:
    body = b"".join(page.chunks)
    return (gzip.decompress(body) if page.encoding == "gzip" else body).decode()


def readings(page: Page) -> int:
    """The number of readings up to the one of this page."""
    (count,) = re.findall(r"^wireguard_exporter_readings_total (\d+)$", text(page), re.MULTILINE)
    return int(count)


def wireguard_lines(page: Page) -> list[str]:
    """The samples of the page without those of the process."""
    lines = (line for line in text(page).splitlines() if line.startswith("wireguard_"))
    return [line for line in lines if not line.startswith("wireguard_exporter_last_scrape_duration")]


async def after_all_have_asked(waiting: list[asyncio.Task[Page]], gate: threading.Event) -> list[Page]:
    """The pages of scrapes that all joined the reading before the interface answers."""
    await asyncio.sleep(0)
    gate.set()
    return list(await asyncio.gather(*waiting))


def start(*scrapes: Awaitable[Page]) -> list[asyncio.Task[Page]]:
    return [asyncio.ensure_future(scrape) for scrape in scrapes]


class TestSharing:
    def test_a_reading_without_a_page_is_shared_with_scrapes(self, tmp_path: Path) -> None:
        """`read` and `scrape` share a reading that is under way; later calls start another."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                reading = asyncio.ensure_future(made.read())
                await asyncio.sleep(0)
                pages = start(made.scrape("", False))
                (page,) = await after_all_have_asked(pages, wg0.gate)
                assert [device.label for device in (await reading).devices] == ["wg0"]
                assert readings(page) == 1
                first, second = await asyncio.gather(made.read(), made.read())
                assert first is second
                assert readings(await made.scrape("", False)) == 3

        asyncio.run(scenario())

    def test_simultaneous_scrapes_share_one_reading(self, tmp_path: Path) -> None:
        """Ten scrapes during one reading get the same page; a later scrape gets another."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                waiting = start(*(made.scrape("", False) for _ in range(10)))
                pages = await after_all_have_asked(waiting, wg0.gate)
                assert wg0.requests == 1
                assert [readings(page) for page in pages] == [1] * 10
                assert all(page is pages[0] for page in pages)
                assert readings(await made.scrape("", False)) == 2
                assert wg0.requests == 2

        asyncio.run(scenario())

    def test_a_scrape_that_comes_later_still_joins(self, tmp_path: Path) -> None:
        """A scrape that starts before the interface has answered shares the reading."""

        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                early = start(made.scrape("", False))
                assert await loop.run_in_executor(None, wg0.waiting.wait, PATIENCE)
                late = start(made.scrape("", True))
                pages = await after_all_have_asked([*early, *late], wg0.gate)
                assert [readings(page) for page in pages] == [1, 1]
                assert wg0.requests == 1

        asyncio.run(scenario())

    def test_the_three_renderings_of_one_reading_agree(self, tmp_path: Path) -> None:
        """Simultaneous plain, compressed and OpenMetrics pages have the same samples in the same order."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                kinds = [("", False), ("", True), (OPEN, False), (OPEN, True)]
                waiting = start(*(made.scrape(*kind) for kind in kinds))
                pages = await after_all_have_asked(waiting, wg0.gate)
            assert wg0.requests == 1
            assert [page.content_type for page in pages] == [PROMETHEUS, PROMETHEUS, OPENMETRICS, OPENMETRICS]
            assert [page.encoding for page in pages] == ["", "gzip", "", "gzip"]
            plain, *others = map(wireguard_lines, pages)
            assert len(plain) > 30
            assert others == [plain] * 3
            openmetrics = list(read_openmetrics(text(pages[3])))  # type: ignore[no-untyped-call]
            assert len(openmetrics) == len(list(read_prometheus(text(pages[1]))))

        asyncio.run(scenario())

    def test_a_cancelled_scrape_does_not_disturb_others(self, tmp_path: Path) -> None:
        """When the scrape that started a reading is cancelled, the other scrape and the next get pages."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                first, second = start(made.scrape("", False), made.scrape("", False))
                await asyncio.sleep(0)
                first.cancel()
                await asyncio.sleep(0)
                wg0.gate.set()
                assert readings(await second) == 1
                assert first.cancelled()
                assert readings(await made.scrape("", False)) == 2

        asyncio.run(scenario())

    def test_a_reading_whose_scrapes_are_all_cancelled(self, tmp_path: Path) -> None:
        """When every scrape of a reading is cancelled, it completes, and a later scrape starts another."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                (only,) = start(made.scrape("", False))
                await asyncio.sleep(0)
                only.cancel()
                await asyncio.gather(only, return_exceptions=True)
                wg0.gate.set()
                assert readings(await made.scrape("", True)) == 1
                assert readings(await made.scrape("", True)) == 2

        asyncio.run(scenario())


class Failing(Gateway):
    """A gateway with a defect: it raises an unexpected exception `failures` times."""

    failures = 0

    def read(self) -> Snapshot:
        snapshot = super().read()
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("a defect")
        return snapshot


class TestFailing:
    def test_a_defect_costs_one_scrape(self, tmp_path: Path) -> None:
        """An unexpected exception fails the scrapes that share the reading, and no other."""

        async def scenario() -> None:
            gateway = Failing("gw", netlink=False, uapi_directory=tmp_path, timeout=PATIENCE)
            with wg0_in(tmp_path) as wg0, scraper(tmp_path, gateway=gateway) as made:
                before = await made.scrape("", False)
                gateway.failures = 1
                kinds = [("", False), ("", True), (OPEN, False)]
                failed = await asyncio.gather(*(made.scrape(*kind) for kind in kinds), return_exceptions=True)
                assert [type(error) for error in failed] == [ZeroDivisionError] * 3
                after = await made.scrape("", False)
                assert wg0.requests == 3
            assert [line.partition(" ")[0] for line in wireguard_lines(after)] == [
                line.partition(" ")[0] for line in wireguard_lines(before)
            ]

        asyncio.run(scenario())

    def test_a_defect_in_one_rendering_costs_that_one(self, tmp_path: Path) -> None:
        """If one kind of page cannot be rendered, another kind of the same reading is still served."""

        class Broken(Scraper):
            def _render(self, snapshot: Snapshot, openmetrics: bool, gzip: bool) -> Page:
                if gzip:
                    raise ZeroDivisionError("a defect")
                return super()._render(snapshot, openmetrics, gzip)

        async def scenario() -> None:
            directory = DirectoryWatch([], [], logging.getLogger("test"))
            made = Broken(gateway_on(tmp_path), config(), directory)
            with wg0_in(tmp_path) as wg0, contextlib.closing(made):
                pages = await asyncio.gather(
                    made.scrape("", True), made.scrape("", False), return_exceptions=True
                )
                assert isinstance(pages[0], ZeroDivisionError)
                assert isinstance(pages[1], Page)
                assert readings(await made.scrape("", False)) == wg0.requests == 2

        asyncio.run(scenario())


class TestClosing:
    def test_closing_waits_for_the_reading(self, tmp_path: Path) -> None:
        """`close` waits for the reading under way and ends the thread; a later scrape is refused."""

        async def scenario() -> None:
            with wg0_in(tmp_path, closed=True) as wg0, scraper(tmp_path) as made:
                waiting = start(made.scrape("", False))
                assert await asyncio.get_running_loop().run_in_executor(None, wg0.waiting.wait, PATIENCE)
                closing = asyncio.get_running_loop().run_in_executor(None, made.close)
                wg0.gate.set()
                await closing
                assert not [thread for thread in threading.enumerate() if thread.name.startswith("scrape")]
                await asyncio.gather(*waiting, return_exceptions=True)
                with pytest.raises(RuntimeError, match="after shutdown"):
                    await made.scrape("", False)

        asyncio.run(scenario())


def scraped(folder: Path, schema: Schema, *kinds: tuple[str, bool]) -> list[Page]:
    """Pages of a schema, made one after another."""

    async def scenario() -> list[Page]:
        with wg0_in(folder), scraper(folder, schema) as made:
            return [await made.scrape(*kind) for kind in kinds]

    return asyncio.run(scenario())


class TestSchemas:
    @pytest.mark.parametrize(
        ("schema", "content_type", "sample"),
        [
            (
                "native",
                PROMETHEUS,
                f'wireguard_peer_receive_bytes_total{{interface="wg0",public_key="{base64_key(NAMED)}"}} '
                "18446744073709551615",
            ),
            (
                "mindflavor",
                MINDFLAVOR_CONTENT_TYPE,
                f'wireguard_received_bytes_total{{interface="wg0",public_key="{base64_key(NAMED)}",'
                'allowed_ips="10.0.0.1/32",friendly_name="Größe \\"7\\"",remote_ip="192.0.2.1",'
                'remote_port="51820"} 18446744073709551615',
            ),
            (
                "mdlayher",
                MDLAYHER_CONTENT_TYPE,
                'wireguard_peer_info{device="wg0",endpoint="192.0.2.1:51820",name="Größe \\"7\\"",'
                f'public_key="{base64_key(NAMED)}"}} 1',
            ),
        ],
    )
    def test_each_schema_is_served(
        self, tmp_path: Path, schema: Schema, content_type: str, sample: str
    ) -> None:
        """A page has its schema's names and content type and the exporter's families, compressed or not."""
        plain, compressed = scraped(tmp_path, schema, ("", False), ("", True))
        assert plain.content_type == compressed.content_type == content_type
        assert (plain.encoding, compressed.encoding) == ("", "gzip")
        for page in (plain, compressed):
            lines = text(page).splitlines()
            assert sample in lines
            assert 'wireguard_exporter_read_success{source="uapi",interface="wg0"} 1' in lines
            names = [family.name for family in read_prometheus(text(page))]
            assert len(names) == len(set(names))
            assert "process_resident_memory_bytes" in names

    @pytest.mark.parametrize("schema", ["mindflavor", "mdlayher"])
    def test_drop_in_schemas_have_no_openmetrics(self, tmp_path: Path, schema: Schema) -> None:
        """A request for OpenMetrics gets plain text, as from the exporters that these schemas replace."""
        (page,) = scraped(tmp_path, schema, (OPEN, False))
        assert page.content_type in (MINDFLAVOR_CONTENT_TYPE, MDLAYHER_CONTENT_TYPE)
        assert "# EOF" not in text(page)

    @pytest.mark.parametrize("schema", ["native", "mindflavor", "mdlayher"])
    def test_promtool_reads_the_whole_page(self, tmp_path: Path, schema: Schema) -> None:
        """promtool reads the whole page, and has no remark on the style of the native schema."""
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed (Debian: apt install prometheus)")
        (page,) = scraped(tmp_path, schema, ("", True))
        done = subprocess.run(
            [promtool, "check", "metrics"],
            input=text(page).encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        # 3 is promtool's exit code for remarks on style; the names of the originals are theirs.
        assert done.returncode in ((0,) if schema == "native" else (0, 3)), done.stderr.decode()

    @pytest.mark.parametrize("schema", ["native", "mindflavor", "mdlayher"])
    def test_no_page_has_a_secret(self, tmp_path: Path, schema: Schema) -> None:
        """No page has the private key or a preshared key of the interface, in hexadecimal or base64."""
        for page in scraped(tmp_path, schema, ("", False), (OPEN, True)):
            assert base64_key(UNNAMED) in text(page)
            for secret in ("7" * 64, "8" * 64):
                assert secret not in text(page)
                assert base64_key(secret) not in text(page)
