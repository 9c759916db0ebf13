"""Reads WireGuard and AmneziaWG interfaces of the kernel, in the network namespace of the calling thread."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from pyroute2.netlink import genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

from exporter.errors import ModuleMissing
from exporter.model import Device
from exporter.sources.nlsocket import NetlinkSocket, error_of, retried
from exporter.sources.wgdump import Decoder

NETLINK_GENERIC = 16  # include/uapi/linux/netlink.h; the socket module has no name for it
KIND = "wireguard"  # the name of the link kind, and of the generic netlink family
KINDS = (KIND, "amneziawg")  # AmneziaWG adds attributes to the same protocol, which are ignored
GENL_HEADER = struct.Struct("=BBxx")  # command, version
INDEX_ATTRIBUTE = struct.Struct("=HHI")
GET_DEVICE, VERSION, WGDEVICE_A_IFINDEX = 0, 1, 1

Opener = Callable[[float], NetlinkSocket]


def open_generic(timeout: float) -> NetlinkSocket:
    return NetlinkSocket(NETLINK_GENERIC, timeout)


def resolve_family(kind: str = KIND) -> int:
    """The number of the generic netlink family of a link kind. Raises `ModuleMissing` if there is none."""
    try:
        with GenericNetlinkSocket() as generic:
            generic.bind(kind, genlmsg)
            return int(generic.prid)
    except NetlinkError as error:
        raise error_of(error.code) from error
    except OSError as error:
        raise error_of(error.errno or 0) from error


class KernelSource:
    """Reads devices of one kind by interface index, which does not change when an interface is renamed."""

    def __init__(
        self,
        timeout: float = 5.0,
        retries: int = 8,
        kind: str = KIND,
        *,
        opener: Opener = open_generic,
        family: Callable[[], int] | None = None,
    ) -> None:
        self._timeout = timeout
        self._retries = retries
        self._open = opener
        self._resolve = family or partial(resolve_family, kind)
        self._family = 0
        self._decoders: dict[int, Decoder] = {}

    def read(self, index: int) -> tuple[Device, int]:
        """The device, and the number of interrupted dumps discarded before it was read."""
        decoder = self._decoders.setdefault(index, Decoder())
        return retried(lambda: self._dump(index, decoder), self._retries, "the peers")

    def keep(self, indexes: set[int]) -> None:
        """Forgets the interfaces that are not in `indexes`."""
        for index in self._decoders.keys() - indexes:
            del self._decoders[index]

    def _dump(self, index: int, decoder: Decoder) -> Device:
        try:
            return self._ask(index, decoder)
        except ModuleMissing:  # the family gets a new number when the module is loaded again
            self._family = 0
            return self._ask(index, decoder)

    def _ask(self, index: int, decoder: Decoder) -> Device:
        self._family = self._family or self._resolve()
        request = GENL_HEADER.pack(GET_DEVICE, VERSION) + INDEX_ATTRIBUTE.pack(8, WGDEVICE_A_IFINDEX, index)
        decoder.begin()
        with self._open(self._timeout) as netlink:
            for start, end in netlink.dump(self._family, request):
                decoder.feed(netlink.buffer, start + GENL_HEADER.size, end)
        return decoder.finish()
