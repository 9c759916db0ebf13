"""Reads all sources of this gateway. A failure becomes a failed `Reading`; it never raises."""

from __future__ import annotations

import errno
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns

from exporter.errors import (
    DumpInterrupted,
    ModuleMissing,
    NamespaceMissing,
    PermissionMissing,
    ReadError,
    ReadFailed,
)
from exporter.model import Device, Link, Reading, Snapshot
from exporter.sourcenames import EVERY_NAMESPACE, UAPI, netlink_source
from exporter.sources.links import links
from exporter.sources.netlink import KINDS, KernelSource, resolve_family
from exporter.sources.uapi import UapiSource

T = TypeVar("T")
NETNS_DIRECTORY = Path("/var/run/netns")
UAPI_AT_ONCE = 16  # sockets read at the same time


@dataclass(slots=True)
class PartialSnapshot:
    """The results of one reading so far."""

    devices: list[Device] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)  # by name; the first namespace that is read wins
    userspace: int = 0  # number of UAPI sockets, including those that are not wanted
    module: Reading | None = None  # the failure, if the kernel has no WireGuard

    def attempt(self, source: str, interface: str, work: Callable[[], tuple[T, int]]) -> T | None:
        """Calls `work`, which returns its result and its number of retries, and adds a `Reading` of it.
        Returns None if it failed: an unexpected exception fails this reading and no other."""
        started = time.monotonic()
        try:
            result, retries = work()
        except ReadError as error:
            spent = time.monotonic() - started
            retries = error.retries if isinstance(error, DumpInterrupted) else 0
            self.readings.append(_failed(source, interface, spent, error, retries))
            return None
        except Exception as error:
            spent = time.monotonic() - started
            self.readings.append(_failed(source, interface, spent, _unexpected(error)))
            return None
        spent = time.monotonic() - started
        self.readings.append(Reading(source, interface, spent, retries=retries))
        return result


class Gateway:
    """All sources of one host. `wanted` selects by `Device.label` the interfaces that are read.

    `read` blocks, and must not be called by two threads at the same time.
    """

    def __init__(
        self,
        name: str,
        *,
        wanted: Callable[[str], bool] = lambda _label: True,
        namespaces: Sequence[str] = (),
        all_namespaces: bool = False,
        netlink: bool = True,
        uapi_directory: Path | None = Path("/var/run/wireguard"),
        timeout: float = 5.0,
        retries: int = 8,
    ) -> None:
        self._name = name
        self._wanted = wanted
        self._namespaces = namespaces
        self._all_namespaces = all_namespaces
        self._netlink = netlink
        self._timeout = timeout
        self._retries = retries
        self._kernels: dict[tuple[str, str], KernelSource] = {}  # by namespace and kind
        self._uapi = UapiSource(uapi_directory, timeout) if uapi_directory else None

    def read(self) -> Snapshot:
        """Reads every source once."""
        found = PartialSnapshot()
        if self._netlink:
            self._read_kernel(found, "")
            self._read_namespaces(found)
        self._read_userspace(found)
        if found.module and not found.userspace:  # a host may run WireGuard only in userspace
            index = next(i for i, reading in enumerate(found.readings) if not reading.interface)
            found.readings[index] = found.module
        return Snapshot(self._name, time.time(), tuple(found.devices), tuple(found.readings))

    def _read_kernel(self, found: PartialSnapshot, namespace: str) -> None:
        """Reads the kernel's interfaces in the calling thread's network namespace."""
        source = netlink_source(namespace)
        listed = found.attempt(source, "", lambda: links(self._timeout, self._retries))
        if listed is None:
            return
        for link in listed:  # the links of userspace interfaces, which have other kinds
            if link.kind not in KINDS:
                found.links.setdefault(link.name, link.link)
        devices = [link for link in listed if link.kind in KINDS]
        kernels = {kind: self._kernel(namespace, kind) for kind in KINDS}
        for kind, kernel in kernels.items():
            kernel.keep({link.index for link in devices if link.kind == kind})
        if not devices and not namespace:
            found.module = _without_module(source)
        for link in devices:
            device = Device(link.name, "kernel", namespace)
            if not self._wanted(device.label):
                continue
            read = found.attempt(source, device.label, lambda link=link: kernels[link.kind].read(link.index))  # type: ignore[misc]
            if read:
                found.devices.append(replace(read, name=link.name, namespace=namespace, link=link.link))

    def _kernel(self, namespace: str, kind: str) -> KernelSource:
        return self._kernels.setdefault((namespace, kind), KernelSource(self._timeout, self._retries, kind))

    def _read_namespaces(self, found: PartialSnapshot) -> None:
        names = self._namespaces
        if self._all_namespaces:
            try:
                names = other_namespaces()
            except ReadError as error:
                found.readings.append(_failed(netlink_source(EVERY_NAMESPACE), "", 0.0, error))
        for name in names:
            started = time.monotonic()
            try:
                _within(name, lambda name=name: self._read_kernel(found, name))  # type: ignore[misc]
            except ReadError as error:
                spent = time.monotonic() - started
                found.readings.append(_failed(netlink_source(name), "", spent, error))
        for gone in [key for key in self._kernels if key[0] not in {"", *names}]:
            del self._kernels[gone]

    def _read_userspace(self, found: PartialSnapshot) -> None:
        uapi = self._uapi
        if not uapi:
            return
        names = found.attempt(UAPI, "", lambda: (uapi.list(), 0))
        taken = {device.label for device in found.devices}
        found.userspace = len(names or ())
        wanted = [name for name in names or () if name not in taken and self._wanted(name)]
        if not wanted:
            return

        def read_one(name: str) -> PartialSnapshot:
            one = PartialSnapshot()
            if read := one.attempt(UAPI, name, lambda: (uapi.read(name), 0)):
                one.devices.append(replace(read, link=found.links.get(name)))
            return one

        # At the same time: a stuck process uses the whole timeout, and the others must not wait for it.
        with ThreadPoolExecutor(min(len(wanted), UAPI_AT_ONCE), "uapi") as readers:
            for one in readers.map(read_one, wanted):
                found.readings += one.readings
                found.devices += one.devices


def _unexpected(error: Exception) -> ReadError:
    """The failure for an exception that is a fault of this program. Its text may quote what was read, so only
    its type and its place in the code are reported."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return ReadFailed(f"reading failed unexpectedly: {type(error).__name__} at {place}", "report this fault")


def _failed(source: str, interface: str, duration: float, error: ReadError, retries: int = 0) -> Reading:
    return Reading(source, interface, duration, error.reason, error.problem, retries, error.remedy)


def _without_module(source: str) -> Reading | None:
    """The failed reading if the kernel has neither WireGuard nor AmneziaWG, which explains why no interface
    was found."""
    started = time.monotonic()
    missing: Reading | None = None
    for kind in KINDS:
        try:
            resolve_family(kind)
        except ModuleMissing as error:
            missing = missing or _failed(source, "", time.monotonic() - started, error)
        except ReadError:
            return None
        else:
            return None
    return missing


def other_namespaces(directory: Path = NETNS_DIRECTORY) -> list[str]:
    """Every named network namespace except the one of this process."""
    own = Path("/proc/self/ns/net").stat()
    try:
        names = sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:  # it is created with the first namespace
        return []
    except OSError as error:
        raise PermissionMissing(f"{directory} cannot be listed: {error.strerror}") from error
    return [name for name in names if not _same(directory / name, own)]


def _same(path: Path, own: os.stat_result) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def _within(namespace: str, work: Callable[[], None]) -> None:
    """Calls `work` on its own thread inside a network namespace. The thread ends with the work, so the
    namespace can be removed at any other time. Raises `NamespaceMissing`, `PermissionMissing` or
    `ReadFailed`."""
    failures: list[Exception] = []

    def enter_and_work() -> None:
        try:
            _enter(namespace)
            work()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=enter_and_work, name=f"netns-{namespace}", daemon=True)
    thread.start()
    thread.join()
    for failure in failures:
        raise namespace_error(namespace, failure) from failure


def _enter(namespace: str) -> None:
    """Enters the namespace. pyroute2 gets a descriptor: a name must be ASCII there, and may be created."""
    descriptor = os.open(NETNS_DIRECTORY / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.setns(descriptor, flags=0)
    finally:
        os.close(descriptor)


def namespace_error(namespace: str, failure: Exception) -> Exception:
    """The `ReadError` for a namespace that could not be entered; any other failure as it is."""
    if not isinstance(failure, OSError):
        return failure
    if failure.errno == errno.ENOENT:
        return NamespaceMissing(
            f"there is no network namespace {namespace}",
            "`ip netns list` shows those that exist",
        )
    if failure.errno in (errno.EPERM, errno.EACCES):
        return PermissionMissing(f"entering the network namespace {namespace} needs CAP_SYS_ADMIN")
    return ReadFailed(f"the network namespace {namespace} cannot be entered: {failure.strerror}")
