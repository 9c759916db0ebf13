"""Runs the tests in `guest/` on the host if its kernel has WireGuard, otherwise in a virtual machine, the
guest.

In a guest each collected test is replaced by an item that reports its outcome from there. The guest is booted
once, and runs all selected tests with one command.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import pytest

from tests.kernel.image import UnavailableError
from tests.kernel.session import Guest
from tests.kernel.vm import Vm

GUEST_TESTS = Path(__file__).parent / "guest"
GUEST = pytest.StashKey[Guest]()


@functools.cache
def host_has_wireguard() -> bool:
    """Whether this process can create a WireGuard interface, tried in a new network namespace."""
    attempt = ["unshare", "--net", "ip", "link", "add", "argus-probe", "type", "wireguard"]
    return os.geteuid() == 0 and subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def pytest_configure(config: pytest.Config) -> None:
    config.stash[GUEST] = guest = Guest(config.rootpath)
    config.add_cleanup(guest.close)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    guest = [item for item in items if item.path.is_relative_to(GUEST_TESTS)]
    if guest and not host_has_wireguard():
        config.stash[GUEST].tests = [item.nodeid for item in guest]
        items[:] = [GuestItem.of(item) if item in guest else item for item in items]


class GuestItem(pytest.Item):
    """Replaces a test that runs in the guest, and reports its outcome."""

    original: pytest.Item

    @classmethod
    def of(cls, original: pytest.Item) -> GuestItem:
        assert original.parent
        item: GuestItem = cls.from_parent(original.parent, name=original.name)
        item.original = original
        return item

    def runtest(self) -> None:
        try:
            outcome = self.config.stash[GUEST].outcome(self.nodeid)
        except UnavailableError as missing:
            pytest.skip(str(missing))
        if outcome.skipped:
            pytest.skip(outcome.text)
        if not outcome.passed:
            pytest.fail(f"in the guest:\n{outcome.text}", pytrace=False)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.original.reportinfo()


@pytest.fixture(scope="session")
def vm(request: pytest.FixtureRequest) -> Vm:
    """The guest of this session, for tests that run commands in it."""
    try:
        return request.config.stash[GUEST].vm()
    except UnavailableError as missing:
        pytest.skip(str(missing))
