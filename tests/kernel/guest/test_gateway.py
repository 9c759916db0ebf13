"""A whole gateway on a real kernel: several namespaces, and failures that affect only their own reading."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.errors import ModuleMissing
from exporter.model import Link, Snapshot
from exporter.sources.gateway import Gateway
from exporter.sources.netlink import KernelSource
from tests.kernel.guest.helpers import (
    DISPOSABLE,
    Namespace,
    interface_conf,
    keys,
    namespace,
    peer_conf,
    random_key,
    run,
    tunnel,
)
from tests.kernel.guest.wgtext import dump_by_wg, dump_of
from tests.kit.paths import PROJECT


def gateway(**options: object) -> Gateway:
    return Gateway("test", uapi_directory=None, **options)  # type: ignore[arg-type]


def reasons(snapshot: Snapshot) -> dict[str, str]:
    """Interface, or source for a listing → reason of its reading."""
    return {reading.interface or reading.source: reading.reason for reading in snapshot.readings}


def test_several_namespaces_are_read_together() -> None:
    """Interfaces with the same name in two namespaces are two devices; a missing namespace affects no
    other."""
    with namespace() as blue, namespace() as red:
        for space in (blue, red):
            space.add("wg0", interface_conf(keys().private) + peer_conf(random_key(), ["10.0.0.1/32"]))
        snapshot = gateway(namespaces=[blue.name, "argus-none", red.name]).read()
        devices = {device.label: device for device in snapshot.devices if device.namespace}
        assert devices.keys() == {f"{blue.name}/wg0", f"{red.name}/wg0"}
        for space in (blue, red):
            assert dump_of(devices[f"{space.name}/wg0"]) == dump_by_wg(space, "wg0")
    assert reasons(snapshot)["netlink@argus-none"] == "namespace"
    assert reasons(snapshot)[f"{red.name}/wg0"] == ""


def test_all_namespaces_are_found() -> None:
    """With `all` every namespace is found, and excluded interfaces are not read."""
    with namespace() as blue, namespace() as red:
        for space in (blue, red):
            space.add("wg0")
        wanted = gateway(all_namespaces=True, wanted=lambda label: label.startswith(f"{blue.name}/"))
        assert [device.label for device in wanted.read().devices] == [f"{blue.name}/wg0"]


def test_an_interface_deleted_after_it_was_listed_affects_no_other() -> None:
    """The removed interface has the reason `vanished`, and the others are read."""
    with namespace() as space:
        for name in ("wg0", "wg1", "wg2"):
            space.add(name)

        def wanted(label: str) -> bool:  # asked between listing and reading
            if label == "wg1":
                space.run("ip", "link", "delete", "wg1")
            return True

        snapshot = space.call(gateway(wanted=wanted).read)
    assert [device.label for device in snapshot.devices] == ["wg0", "wg2"]
    assert reasons(snapshot) == {"netlink": "", "wg0": "", "wg1": "vanished", "wg2": ""}


def test_the_counters_of_the_link_are_as_ip_shows_them() -> None:
    """State, bytes, packets, errors and drops of a tunnel's interface equal those of `ip`, also for one that
    is down."""
    with tunnel() as (end, _):
        end.space.add("wg1")
        for _attempt in range(10):
            before = links_by_ip(end.space)
            snapshot = end.space.call(gateway().read)
            if before == links_by_ip(end.space):
                break
    links = {device.name: device.link for device in snapshot.devices}
    assert links == before
    assert links["wg1"]
    assert links["wg1"] == Link(up=False, index=links["wg1"].index)
    assert links["wg0"]
    assert links["wg0"].receive_packets > 0


def links_by_ip(space: Namespace) -> dict[str, Link]:
    """The WireGuard links of a namespace, from the output of `ip`."""
    links = {}
    for link in json.loads(space.run("ip", "-json", "-stats", "link", "show", "type", "wireguard")):
        received, sent = link["stats64"]["rx"], link["stats64"]["tx"]
        counted = Link(
            "UP" in link["flags"],
            *(side[name] for name in ("bytes", "packets", "errors", "dropped") for side in (received, sent)),
        )
        links[link["ifname"]] = replace(counted, index=link["ifindex"])
    return links


READINGS = """
import json
from exporter.sources.gateway import Gateway
snapshot = Gateway("test", uapi_directory=None).read()
assert not snapshot.devices
print(json.dumps({each.interface or each.source: [each.reason, each.message] for each in snapshot.readings}))
"""


def test_without_the_capability_each_interface_says_so() -> None:
    """A process without CAP_NET_ADMIN lists interfaces, reads none, and names the missing capability."""
    with namespace() as space:
        space.add("wg0")
        without = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
        command = shlex.join([*without, sys.executable, "-c", READINGS])
        output = space.run("sh", "-c", f"cd {shlex.quote(str(PROJECT))} && {command}")
    readings = json.loads(output)
    assert readings["netlink"] == ["", ""]
    reason, message = readings["wg0"]
    assert reason == "permission"
    assert "CAP_NET_ADMIN" in message


@contextlib.contextmanager
def without_module() -> Iterator[None]:
    """Unloads the module. It is in use until the kernel has removed deleted namespaces."""
    deadline = time.monotonic() + 60
    while True:
        try:
            run("rmmod", "wireguard")
            break
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        yield
    finally:
        (module,) = Path("/run/guest/modules").glob("*-wireguard.ko")
        run("insmod", str(module))


@pytest.mark.skipif(not DISPOSABLE, reason="unloads the WireGuard module, which a test must not do on a host")
def test_without_the_module_the_source_says_so() -> None:
    """A kernel without the module has another reason than one without interfaces, and is read once it has the
    module."""
    source = KernelSource()
    with namespace() as space:
        assert reasons(space.call(gateway().read)) == {"netlink": ""}
        index = space.add("wg0")
        space.call(lambda: source.read(index))
        space.run("ip", "link", "delete", "wg0")
        with without_module():
            assert reasons(space.call(gateway().read)) == {"netlink": "module"}
            with pytest.raises(ModuleMissing):
                space.call(lambda: source.read(index))
        index = space.add("wg0")
        assert space.call(lambda: source.read(index)[0]).name == "wg0"
