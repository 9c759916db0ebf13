"""The running exporter: connects the parts, and handles signals."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Mapping
from pathlib import Path

from exporter import __version__
from exporter.config import Config
from exporter.directory.watch import DirectoryWatch
from exporter.errors import InputError
from exporter.input.listenaddress import ListenAddress
from exporter.metrics.gathering.inputs import RecordedTotals, Serving
from exporter.reader import gateway_of
from exporter.recording import RecordingState
from exporter.routes.table import exporter_routes
from exporter.scrape import Scraper
from exporter.servicemanager import notify
from exporter.store.service import Service
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.server import HttpServer

log = logging.getLogger("argus")

GRACE = 10.0  # seconds that requests under way get when the daemon stops


class Daemon:
    """The running exporter. Call `start`, and in the end `stop`; `reload` at any time between."""

    def __init__(self, settings: Config) -> None:
        """Raises `InputError` where the web configuration is wrong, or protects too little."""
        self._settings = settings
        self.directory = DirectoryWatch(
            settings.directory.files, settings.directory.wg_quick, log, emails=settings.directory.email_names
        )
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
        limits = settings.limits
        self.server = HttpServer(
            [(address.host, address.port) for address in settings.listen],
            exporter_routes(self._scraper.scrape, self._ready, limits.max_concurrent, limits.request_timeout),
            settings.web_config,
            ConnectionLimits(write_seconds=limits.request_timeout),
            log,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._warm = False
        self._hangup = asyncio.Event()
        self._require_login()

    async def start(self) -> None:
        """Starts to listen. The first reading is made afterwards; `/-/ready` says when it is done."""
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
        """For SIGHUP: reads the web configuration and the directory again, changed or not."""
        self.server.reload()
        self._hangup.set()  # signals that arrive while the directory is read make it read once more

    def _require_login(self) -> None:
        """Raises `InputError` when other hosts can connect, and the web configuration requires no login."""
        settings = self._settings
        reachable = [address for address in settings.listen if not address.loopback]
        if not settings.web_config or not reachable or settings.allow_unauthenticated:
            return
        if self.server.web_config.authenticates:
            return
        raise InputError(
            str(settings.web_config),
            0,
            "",
            f"asks for neither a password nor a client certificate, and {reachable[0]} can be reached from "
            "other hosts",
            "add basic_auth_users, or client_auth_type: RequireAndVerifyClientCert, or set "
            "allow_unauthenticated: true in the configuration",
        )

    async def _warm_up(self) -> None:
        """Makes a page. The first one takes several times as long, because later ones reuse parts of it."""
        try:
            await self._scraper.scrape("", gzip=True)
        except Exception:  # the next scrape fails in the same way, and its client gets the error
            log.exception("the first reading failed")
        gc.freeze()  # the garbage collector skips every object that exists now
        self._warm = True
        log.info("ready: the first reading is done")

    async def _watch(self) -> None:
        """Reads changed files of the directory, every `directory.reload_every` and after SIGHUP."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hangup.wait(), self._settings.directory.reload_every)
            read = self.directory.reload if self._hangup.is_set() else self.directory.poll
            self._hangup.clear()
            try:
                await loop.run_in_executor(None, read)
            except Exception:  # the next check may succeed; without the handler, this task would end
                log.exception("cannot check the files of the directory")

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
            directory_mistakes={str(path): len(found) for path, found in self.directory.problems.items()},
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
    """Runs until SIGTERM or SIGINT. `path` is the configuration file, for the log. Returns the exit code."""
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
    notify("READY=1", log)
    await stopping.wait()
    log.info("stopping: scrapes under way get %d s", GRACE)
    notify("STOPPING=1", log)
    await daemon.stop()
    return 0
