"""The HTTP server: `/metrics`, `/`, `/-/healthy` and `/-/ready`.

Connections are accepted here, one task each, so that each gets the TLS context of its moment and
none above the limit gets anything. HTTP itself is aiohttp's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import cast

from aiohttp import web

from exporter.web import reply
from exporter.web.basicauth import BasicAuth, OverloadedError, credentials
from exporter.web.connection import Connection, abort
from exporter.web.listen import listen
from exporter.web.negotiate import accepts_gzip
from exporter.web.page import Page
from exporter.web.ratelimit import TokenBucket
from exporter.web.reply import Reply
from exporter.web.stats import WebStats
from exporter.web.tls import has_allowed_name
from exporter.web.watch import Current, WebConfigWatch
from exporter.web.webconfig import WebConfig

Scrape = Callable[[str, bool], Awaitable[Page]]
Ready = Callable[[], tuple[bool, Sequence[str]]]

RETRY_AFTER = "5"  # seconds
BUSY = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    f"Retry-After: {RETRY_AFTER}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What clients can ask of the server, all of them together and each of them alone.

    `write_seconds` is for a whole answer; `head_seconds` for the TLS handshake, and for a request's
    head from its first byte; `keepalive_seconds` for the pause between requests, longer than any
    usual scrape interval.
    """

    connections: int = 128
    scrapes: int = 16
    scrape_seconds: float = 30.0
    write_seconds: float = 30.0
    head_seconds: float = 10.0
    keepalive_seconds: float = 150.0
    head_bytes: int = 8190  # the request line, and each header


class HttpServer:
    """`await start()`, and in the end `await stop()`.

    `scrape(accept, gzip)` gives the page for an `Accept` header, compressed where `gzip` is true.
    `ready()` says whether the exporter does its work, and why not. `addresses` are the (host, port)
    that are listened on, with the ports the kernel chose. `reload()` re-reads the web configuration
    at once, which otherwise happens when a connection or a request finds it changed.
    """

    def __init__(
        self,
        listen: Sequence[tuple[str, int]],
        scrape: Scrape,
        ready: Ready,
        web_config: Path | None = None,
        limits: ServerLimits | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        """Raises `InputError` where the web configuration is wrong."""
        self.stats = WebStats()
        self.addresses: tuple[tuple[str, int], ...] = ()
        self._listen = tuple(listen)
        self._scrape = scrape
        self._ready = ready
        self._limits = limits or ServerLimits()
        self._log = log or logging.getLogger(__name__)
        self._watch = WebConfigWatch(web_config, self._log)
        self._auth = BasicAuth()
        self._bucket: TokenBucket | None = None
        self._http: web.Server | None = None
        self._listeners: list[socket.socket] = []
        self._acceptors: list[asyncio.Task[None]] = []
        self._conversations: set[asyncio.Task[None]] = set()
        self._scraping = 0
        self._scrape_failing = False
        self._answering = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def web_config_error(self) -> str:
        """Why the web configuration on disk is not in force; "" = it is."""
        return self._watch.error

    @property
    def web_config(self) -> WebConfig:
        """The web configuration in force."""
        return self._watch.current().config

    def reload(self) -> None:
        """Re-reads the web configuration. Never raises; see `web_config_error`."""
        self._watch.reload()

    async def start(self) -> None:
        """Listens on every address. Raises `ListenError`, and then listens on none."""
        self._listeners = await listen(self._listen)
        self._http = web.Server(self._answer)
        self.addresses = tuple(listener.getsockname()[:2] for listener in self._listeners)
        self._acceptors = [asyncio.create_task(self._accept(listener)) for listener in self._listeners]

    async def stop(self, grace: float = 10.0) -> None:
        """Accepts nothing more, lets requests end for `grace` seconds, then ends what is left."""
        await _cancel(self._acceptors)
        for listener in self._listeners:
            listener.close()
        if self._http:
            self._http.pre_shutdown()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._quiet.wait()
            await self._http.shutdown(0.01)  # seconds; 0 would mean for ever
        await _cancel(self._conversations)
        self._auth.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        failing = False
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:  # no file descriptor left, most likely; the backlog keeps the client
                if not failing:
                    self._log.error("cannot accept connections: %s; trying every second", error.strerror)
                failing = True
                await asyncio.sleep(1)
                continue
            if failing:
                self._log.info("connections are accepted again")
            failing = False
            current = self._watch.current()
            if len(self._conversations) >= self._limits.connections:
                self._turn_away(accepted, current)
                continue
            task = asyncio.create_task(self._converse(accepted, current))
            self._conversations.add(task)
            task.add_done_callback(self._conversations.discard)

    def _turn_away(self, accepted: socket.socket, current: Current) -> None:
        self.stats.connections_refused += 1
        with accepted, contextlib.suppress(OSError):
            if current.context is None:
                accepted.send(BUSY)
                accepted.shutdown(socket.SHUT_WR)

    async def _converse(self, accepted: socket.socket, current: Current) -> None:
        """One connection, from its TLS handshake until it is lost."""
        loop = asyncio.get_running_loop()
        # The kernel ends a connection whose peer takes nothing any more, also while it is being closed.
        milliseconds = int(self._limits.write_seconds * 1000)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        handshake = self._limits.head_seconds if current.context else None
        try:
            transport, connection = await loop.connect_accepted_socket(
                self._connection,
                accepted,
                ssl=current.context,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=handshake,
            )
        except OSError as error:
            self.stats.handshake_failures += 1
            self._log.debug("TLS handshake failed: %s", error)
            return
        try:
            if not _is_allowed(transport, current.config):
                self.stats.handshake_failures += 1
                self._log.warning(
                    "%s has a certificate without a name in client_allowed_sans", _peer(transport)
                )
                return
            await connection.lost
        finally:
            abort(transport)

    def _connection(self) -> Connection:
        limits = self._limits
        return Connection(
            cast("web.Server", self._http),
            asyncio.get_running_loop(),
            self.stats,
            self._log,
            head_seconds=limits.head_seconds,
            keepalive_seconds=limits.keepalive_seconds,
            head_bytes=limits.head_bytes,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's entry for every request that could be parsed."""
        connection = cast("Connection", request.protocol)
        connection.request_began()
        self._answering += 1
        self._quiet.clear()
        try:
            return await self._respond(request, self._watch.current())
        except TimeoutError:
            self.stats.write_timeouts += 1
            connection.abort()
            raise ConnectionAbortedError("the client reads too slowly") from None
        finally:
            connection.request_ended()
            self._answering -= 1
            if not self._answering:
                self._quiet.set()

    async def _respond(self, request: web.BaseRequest, current: Current) -> web.StreamResponse:
        refused = await self._refusal(request, current.config)
        if refused or request.path != "/metrics":
            return await self._send(request, refused or self._plain(request.path), current)
        if self._scraping >= self._limits.scrapes:
            busy = reply.refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many scrapes at once", Retry_After=RETRY_AFTER
            )
            return await self._send(request, busy, current)
        self._scraping += 1  # until it is sent: a page in memory is what the limit is for
        try:
            return await self._send(request, await self._metrics(request), current)
        finally:
            self._scraping -= 1

    async def _refusal(self, request: web.BaseRequest, config: WebConfig) -> Reply | None:
        if not self._within_rate(config):
            return reply.refusal(
                HTTPStatus.TOO_MANY_REQUESTS, "more than rate_limit allows", Retry_After=RETRY_AFTER
            )
        if config.users and (refused := await self._unauthorised(request, config)):
            return refused
        if request.method not in ("GET", "HEAD"):
            allowed = "GET, HEAD"
            return reply.refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}", close=True, Allow=allowed)
        if request.body_exists:
            return reply.refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a request has no body here", close=True
            )
        return None

    def _within_rate(self, config: WebConfig) -> bool:
        now = asyncio.get_running_loop().time()
        if config.rate_limit is None:
            return True
        if self._bucket is None or self._bucket.limit != config.rate_limit:
            self._bucket = TokenBucket(config.rate_limit, now)
        return self._bucket.take(now)

    async def _unauthorised(self, request: web.BaseRequest, config: WebConfig) -> Reply | None:
        given = credentials(request.headers.get("Authorization", ""))
        try:
            if given and await self._auth.verify(config.users, *given):
                return None
        except OverloadedError:
            reason = "too many passwords are being checked"
            return reply.refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason, Retry_After=RETRY_AFTER)
        self.stats.auth_failures += bool(given)
        challenge = 'Basic realm="argus-wg", charset="UTF-8"'
        return reply.refusal(HTTPStatus.UNAUTHORIZED, "user and password, please", WWW_Authenticate=challenge)

    def _plain(self, path: str) -> Reply:
        """Every path but `/metrics`."""
        if path == "/":
            return reply.landing()
        if path == "/-/healthy":
            return reply.text(HTTPStatus.OK, ["healthy"])
        if path == "/-/ready":
            ready, reasons = self._ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return reply.text(status, ["ready" if ready else "not ready", *reasons])
        return reply.refusal(HTTPStatus.NOT_FOUND, "metrics are at /metrics")

    async def _metrics(self, request: web.BaseRequest) -> Reply:
        accept = ", ".join(request.headers.getall("Accept", ()))
        gzip = accepts_gzip(", ".join(request.headers.getall("Accept-Encoding", ())))
        try:
            async with asyncio.timeout(self._limits.scrape_seconds):
                page = await self._scrape(accept, gzip)
        except Exception as error:
            if not self._scrape_failing:
                self._scrape_failing = True
                self._log.error("a scrape failed, so /metrics answers 500", exc_info=error)
            return reply.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "the exporter's log says why")
        if self._scrape_failing:
            self._scrape_failing = False
            self._log.info("/metrics answers again")
        return Reply(HTTPStatus.OK, page, {"Vary": "Accept, Accept-Encoding"})

    async def _send(self, request: web.BaseRequest, answer: Reply, current: Current) -> web.StreamResponse:
        # A connection made under an older TLS configuration ends with the answer that finds it out.
        outdated = request.get_extra_info("sslcontext") is not current.context
        final = Reply(answer.status, answer.page, answer.headers, answer.close or outdated)
        self.stats.requests[answer.status] += 1
        return await reply.send(request, final, current.config.headers, self._limits.write_seconds)


async def _cancel(tasks: Sequence[asyncio.Task[None]] | set[asyncio.Task[None]]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def _is_allowed(transport: asyncio.BaseTransport, config: WebConfig) -> bool:
    if not config.tls or not config.tls.client_allowed_sans:
        return True
    certificate = transport.get_extra_info("peercert") or {}
    return has_allowed_name(certificate, config.tls.client_allowed_sans)


def _peer(transport: asyncio.BaseTransport) -> str:
    return str((transport.get_extra_info("peername") or ("a client",))[0])
