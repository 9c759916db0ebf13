"""The running exporter: connects the parts, and handles signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from exporter import __version__
from exporter.config import Config
from exporter.directory.watch import DirectoryWatch
from exporter.errors import InputError
from exporter.listenaddress import ListenAddress
from exporter.metrics.exporter import Serving
from exporter.metrics.families import RecordedTotals
from exporter.reader import gateway_of
from exporter.recording import RecordingState
from exporter.scrape import Scraper
from exporter.store.service import Service
from exporter.web.server import HttpServer, ServerLimits

log = logging.getLogger("argus")

GRACE = 10.0  # seconds that scrapes under way get when the daemon is told to stop


class Daemon:
    """The running exporter. `start`, then `stop`; `reload` at any time between."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self.directory = DirectoryWatch(settings.directory.files, settings.directory.wg_quick, log)
        self._recording = RecordingState() if settings.recording.enabled else None
        self._scraper = Scraper(
            gateway_of(settings),
            settings,
            self.directory,
            self._serving,
            self._recording,
            self._totals if self._recording else None,
        )
        self._store: Service | None = None
        if self._recording:
            self._store = Service(settings, self.directory, self._scraper.read, self._recording)
        self.server = HttpServer(
            [(address.host, address.port) for address in settings.listen],
            self._scraper.scrape,
            self._ready,
            settings.web_config,
            ServerLimits(
                scrapes=settings.limits.max_concurrent,
                scrape_seconds=settings.limits.request_timeout,
                write_seconds=settings.limits.request_timeout,
            ),
            log,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._warm = False
        self._hangup = asyncio.Event()
        self._refuse_open_door()

    async def start(self) -> None:
        """Listen. The first reading goes on behind it; `/-/ready` says when it is done."""
        await self.server.start()
        self._tasks = [asyncio.create_task(self._warm_up()), asyncio.create_task(self._watch())]
        if self._store:
            self._store.start()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        stopping = [self.server.stop(GRACE)]
        if self._store:
            stopping.append(self._store.stop())
        await asyncio.gather(*stopping)
        self._scraper.close()

    def reload(self) -> None:
        """What SIGHUP does: read the directory and the web configuration again, changed or not."""
        self.server.reload()
        self._hangup.set()  # any number of signals while the directory is read are one more

    def _refuse_open_door(self) -> None:
        """A web configuration that asks nobody who they are protects no address beyond loopback."""
        settings = self._settings
        open_to = [address for address in settings.listen if not address.loopback]
        if settings.web_config and open_to and not settings.allow_unauthenticated:
            if self.server.web_config.authenticates:
                return
            raise InputError(
                str(settings.web_config),
                0,
                "",
                f"asks for neither a password nor a client certificate, and {open_to[0]} can be reached from "
                "other hosts; add basic_auth_users, or client_auth_type: RequireAndVerifyClientCert, or set "
                "allow_unauthenticated: true in the configuration",
            )

    async def _warm_up(self) -> None:
        """The first reading makes what later ones reuse and takes several times as long: no scrape should."""
        try:
            await self._scraper.scrape("", gzip=True)
        except Exception:  # a scrape will say so, too
            log.exception("the first reading failed")
        gc.freeze()  # what is here now stays: the collector need not look at it again
        self._warm = True
        log.info("ready: the first reading is done")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hangup.wait(), self._settings.directory.reload_every)
            look = self.directory.reload if self._hangup.is_set() else self.directory.poll
            self._hangup.clear()
            try:
                await loop.run_in_executor(None, look)
            except Exception:  # whatever it is, the next look may be better than none ever again
                log.exception("the directory could not be looked at")

    def _ready(self) -> tuple[bool, list[str]]:
        if not self._warm:
            return False, ["the first reading is under way"]
        if self._recording and self._recording.problems:
            return False, self._recording.problems
        return True, [f"serving {self._settings.gateway}"]

    def _totals(self) -> Mapping[str, RecordedTotals]:
        return self._store.totals if self._store else {}

    def _serving(self) -> Serving:
        reloads = {"directory": self.directory.error is None}
        if self._settings.web_config:
            reloads["web_config"] = not self.server.web_config_error
        return Serving(
            directory_entries=len(self.directory.current.entries),
            directory_loaded_at=self.directory.loaded_at,
            reload_success=reloads,
            last_scrape_duration=self._scraper.last_duration,
            requests=self.server.stats.requests,
            refusals={
                "login": self.server.stats.auth_failures,
                "connections": self.server.stats.connections_refused,
                "tls": self.server.stats.handshake_failures,
                "slow-head": self.server.stats.head_timeouts,
                "slow-reader": self.server.stats.write_timeouts,
            },
        )


async def serve(settings: Config, path: Path | None) -> int:
    """Run until SIGTERM or SIGINT."""
    daemon = Daemon(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await daemon.start()
    where = ", ".join(str(ListenAddress(*address)) for address in daemon.server.addresses)
    log.info(
        "argus-wg %s serves %s on %s (%s)", __version__, settings.gateway, where, path or "no file: defaults"
    )
    tell_systemd("READY=1")
    await stopping.wait()
    log.info("stopping: scrapes under way get %d s", GRACE)
    tell_systemd("STOPPING=1")
    await daemon.stop()
    return 0


def tell_systemd(state: str) -> None:
    """One datagram to the service manager, if there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        name = "\0" + address[1:] if address.startswith("@") else address
        stamp = f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
        try:
            manager.sendto(f"{state}\n{stamp}".encode(), name)
        except OSError as error:
            log.warning("NOTIFY_SOCKET %s cannot be told: %s", address, error.strerror)
