"""Finds the route of a request."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus

from exporter.web.messages.reply import RefusedError
from exporter.web.routing.endpoint import Endpoint
from exporter.web.routing.route import Route

PATTERN = "*"  # as the last character of a route's path: every path with this beginning


class RouteTable:
    """The routes of a server."""

    def __init__(self, routes: Iterable[Route], log: logging.Logger) -> None:
        """Raises `ValueError` when two routes have the same path and method."""
        self._exact: dict[str, dict[str, Endpoint]] = {}
        begins: dict[str, dict[str, Endpoint]] = {}
        for route in routes:
            is_pattern = route.path.endswith(PATTERN)
            methods = (begins if is_pattern else self._exact).setdefault(route.path.removesuffix(PATTERN), {})
            endpoint = Endpoint(route, log)
            for method in _with_head(route.methods):
                if method in methods:
                    raise ValueError(f"two routes for {method} {route.path}")
                methods[method] = endpoint
        self._begins = sorted(begins.items(), key=lambda item: len(item[0]), reverse=True)

    def find(self, method: str, path: str) -> Endpoint:
        """The route of a method and a decoded path. Raises `RefusedError` with status 404 or 405."""
        methods = self._methods(path)
        if not methods:
            raise RefusedError(HTTPStatus.NOT_FOUND, "this server has no such path")
        if method not in methods:
            allowed = ", ".join(methods)
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"only {allowed}", close=True, Allow=allowed)
        return methods[method]

    def _methods(self, path: str) -> dict[str, Endpoint]:
        if path in self._exact:
            return self._exact[path]
        return next((methods for begin, methods in self._begins if path.startswith(begin)), {})


def _with_head(methods: tuple[str, ...]) -> Iterable[str]:
    for method in methods:
        yield method
        if method == "GET":
            yield "HEAD"
