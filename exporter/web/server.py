"""The HTTP server: listens, accepts connections, and answers requests by a table of routes.

HTTP itself is aiohttp's. Connections are accepted here and not by aiohttp: so each gets the TLS context in
force, and their number is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from exporter.web.configuration.watch import WebConfigWatch
from exporter.web.configuration.webconfig import WebConfig
from exporter.web.connections.acceptor import Acceptor
from exporter.web.connections.connection import Connection
from exporter.web.connections.listen import listen
from exporter.web.limits.connectionlimits import ConnectionLimits
from exporter.web.responder import Responder
from exporter.web.routing.route import Route
from exporter.web.stats import WebStats


class HttpServer:
    """`await start()`, and in the end `await stop()`.

    `addresses` are the (host, port) that the server listens on, with the ports that the kernel chose. The web
    configuration is read again when a connection or a request finds it changed, and by `reload()`.
    """

    def __init__(
        self,
        addresses: Sequence[tuple[str, int]],
        routes: Sequence[Route],
        web_config: Path | None = None,
        limits: ConnectionLimits | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Raises `InputError` where the web configuration is wrong."""
        self.stats = WebStats()
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._listen = tuple(addresses)
        self._limits = limits or ConnectionLimits()
        self._log = log or logging.getLogger(__name__)
        self._watch = WebConfigWatch(web_config, self._log)
        self._responder = Responder(routes, self._watch.current, self._limits, self.stats, self._log)
        self._acceptor: Acceptor | None = None
        self._http: web.Server | None = None

    @property
    def web_config_error(self) -> str:
        """Why the web configuration on disk is not in force; "" = it is."""
        return self._watch.error

    @property
    def web_config(self) -> WebConfig:
        """The web configuration in force."""
        return self._watch.current().config

    def reload(self) -> None:
        """Reads the web configuration again. Never raises; see `web_config_error`."""
        self._watch.reload()

    async def start(self) -> None:
        """Listens on every address. Raises `ListenError`, and then listens on none."""
        listeners = await listen(self._listen)
        http = self._http = web.Server(self._responder.respond)
        loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(
            lambda: Connection(http, loop, self._limits, self.stats, self._log),
            lambda: self._watch.current().tls,
            self._limits,
            self.stats,
            self._log,
        )
        self.addresses = tuple(listener.getsockname()[:2] for listener in listeners)
        self._acceptor.start(listeners)

    async def stop(self, grace: float = 10.0) -> None:
        """Stops listening, ends the streams, and closes all after `grace` seconds for requests under way."""
        if self._acceptor and self._http:
            await self._acceptor.stop_accepting()
            self._http.pre_shutdown()
            await self._responder.finish(grace)
            await self._http.shutdown(0.01)  # seconds; 0 would mean no limit
            await self._acceptor.close()
        self._responder.close()
