"""Builders for one interface: its observation, and its peers in blocks."""

from __future__ import annotations

from exporter.directory.entry import Directory
from exporter.metrics.gathering.blocks import KeptBlock
from exporter.model import Device, Snapshot
from exporter.observe import Observed, Observer
from tests.kit.gateways import NOW

WG0 = Device("wg0", "kernel")
NOBODY = Directory()


def observed(*history: Device) -> Observed:
    observer = Observer()
    for device in history:
        observer.update(Snapshot("gw", NOW, (device,)))
    return observer.devices[device.label]


def blocks_of(device: Device, directory: Directory, size: int) -> list[KeptBlock]:
    """The device's peers in blocks of `size` peers."""
    starts = range(0, len(device.peers), size)
    return [KeptBlock("wg0", tuple(device.peers[start : start + size]), directory) for start in starts]
