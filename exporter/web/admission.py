"""Admits or refuses a request, by the rate limit and then by the login."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from exporter.web.configuration.webconfig import WebConfig
from exporter.web.limits.ratelimit import TokenBucket
from exporter.web.logins.basicauth import BasicAuth, OverloadedError
from exporter.web.logins.credentials import credentials
from exporter.web.messages.reply import RETRY_AFTER, RefusedError
from exporter.web.stats import WebStats

CHALLENGE = 'Basic realm="argus-wg", charset="UTF-8"'


class Admission:
    """Admits requests. Call `close()` in the end."""

    def __init__(self, stats: WebStats) -> None:
        self._stats = stats
        self._auth = BasicAuth()
        self._bucket: TokenBucket | None = None

    def close(self) -> None:
        self._auth.close()

    async def admit(self, authorization: str, config: WebConfig) -> str:
        """The user name of the login; "" = the configuration has no users.

        `authorization` is the `Authorization` header. Raises `RefusedError` with status 429, 401 or 503.
        """
        if not self._within_rate(config):
            raise RefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, "more than rate_limit allows", Retry_After=RETRY_AFTER
            )
        return await self._login(authorization, config) if config.users else ""

    def _within_rate(self, config: WebConfig) -> bool:
        now = asyncio.get_running_loop().time()
        if config.rate_limit is None:
            return True
        if self._bucket is None or self._bucket.limit != config.rate_limit:
            self._bucket = TokenBucket(config.rate_limit, now)
        return self._bucket.take(now)

    async def _login(self, authorization: str, config: WebConfig) -> str:
        given = credentials(authorization)
        try:
            if given and await self._auth.verify(config.users, *given):
                return given[0].decode()
        except OverloadedError:
            reason = "too many passwords are being checked"
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, reason, Retry_After=RETRY_AFTER) from None
        self._stats.auth_failures += bool(given)
        # Closed: a client without a login must not hold a connection until `keepalive_seconds` are over.
        raise RefusedError(
            HTTPStatus.UNAUTHORIZED, "user and password, please", close=True, WWW_Authenticate=CHALLENGE
        )
