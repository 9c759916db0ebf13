"""Which route answers a path and a method."""

from __future__ import annotations

import logging
from http import HTTPStatus

import pytest

from exporter.web.messages.reply import RefusedError, Reply, text
from exporter.web.messages.request import Request
from exporter.web.routing.route import Route
from exporter.web.routing.table import RouteTable

LOG = logging.getLogger("test")


async def handler(request: Request) -> Reply:
    return text(HTTPStatus.OK, [request.path])


def table(*routes: Route) -> RouteTable:
    return RouteTable(routes, LOG)


ROUTES = (
    Route("/", handler),
    Route("/scim/v2/*", handler, ("GET", "DELETE")),
    Route("/scim/v2/Users/*", handler, ("GET", "PUT")),
    Route("/scim/v2/Users/me", handler),
    Route("/api", handler, ("GET",)),
    Route("/api", handler, ("POST",), max_body=10),
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "/"),
        ("/scim/v2/", "/scim/v2/*"),
        ("/scim/v2/Groups/7", "/scim/v2/*"),
        ("/scim/v2/Users", "/scim/v2/*"),
        ("/scim/v2/Users/7", "/scim/v2/Users/*"),
        ("/scim/v2/Users/me", "/scim/v2/Users/me"),
        ("/scim/v2/Users/me/", "/scim/v2/Users/*"),
    ],
)
def test_the_most_specific_route_is_found(path: str, found: str) -> None:
    """An exact path has precedence over a pattern, and a longer pattern over a shorter one."""
    assert table(*ROUTES).find("GET", path).route.path == found


def test_routes_of_one_path_share_it_by_method() -> None:
    """Each method of a path has its route; HEAD has the route of GET."""
    routes = table(*ROUTES)
    assert routes.find("POST", "/api").route.max_body == 10
    assert routes.find("GET", "/api").route.max_body == 0
    assert routes.find("HEAD", "/api") is routes.find("GET", "/api")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/", "GET, HEAD"), ("/api", "GET, HEAD, POST"), ("/scim/v2/Users/7", "GET, HEAD, PUT")],
)
def test_a_method_without_a_route_is_not_allowed(path: str, allowed: str) -> None:
    """A method without a route is refused with status 405 and the list of the path's methods."""
    with pytest.raises(RefusedError) as refused:
        table(*ROUTES).find("PATCH", path)
    assert refused.value.reply.status == HTTPStatus.METHOD_NOT_ALLOWED
    assert refused.value.reply.headers == {"Allow": allowed}


@pytest.mark.parametrize("path", ["/scim/v2", "/api/", "/API", "", "/*", "*"])
def test_a_path_without_a_route_is_not_found(path: str) -> None:
    """A path without a route is refused with status 404, for every method."""
    for method in ("GET", "PATCH"):
        with pytest.raises(RefusedError) as refused:
            table(*ROUTES).find(method, path)
        assert refused.value.reply.status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("methods", [("GET",), ("POST", "HEAD")])
def test_two_routes_for_the_same_requests_are_an_error(methods: tuple[str, ...]) -> None:
    """A table with two routes for one path and method cannot be made."""
    with pytest.raises(ValueError, match=r"two routes for \w+ /x"):
        table(Route("/x", handler), Route("/x", handler, methods))
