"""The demo: sets up the mesh, prints where to look, and removes everything at the end."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

from pyroute2 import NetlinkError
from rich.console import Console

from exporter.demo import exporters, traces, tunnels, underlay
from exporter.demo.errors import DemoError
from exporter.demo.exporters import Exporter
from exporter.demo.narration import Narrator
from exporter.demo.plan import MESH, PeerNode
from exporter.demo.processes import Processes
from exporter.demo.setconf import Keys
from exporter.demo.signals import Interrupts
from exporter.demo.traffic import Traffic
from exporter.model import Kind


def run_demo(silent_after: float, exit_after: float | None) -> int:
    """The exit code: 0 = ended as asked and everything is removed, 1 = a part of it failed.

    `silent_after`: seconds until the cable of one peer is pulled. `exit_after`: seconds until the end; None =
    until a signal. Raises `DemoError`.
    """
    if os.geteuid() != 0:
        raise DemoError("network namespaces and WireGuard interfaces need root", "run `sudo argus-wg demo`")
    try:
        with Interrupts() as interrupts, traces.only_one():
            return Demo(Narrator(Console()), interrupts).run(silent_after, exit_after)
    except BrokenPipeError:
        raise  # of standard output: its reader ended
    except (NetlinkError, OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"the mesh could not be set up or removed: {error}") from error


class Demo:
    """One run: sets up the mesh, and removes all of it at the end."""

    def __init__(self, narrator: Narrator, interrupts: Interrupts) -> None:
        self._tell = narrator
        self._interrupts = interrupts
        self._processes = Processes(traces.RECORD)
        self._traffic: Traffic | None = None
        self._lost = False  # a process of the demo ended by itself

    def run(self, silent_after: float, exit_after: float | None) -> int:
        """Until a signal, or `exit_after` seconds. 0 = ended as asked, 1 = a process ended by itself."""
        if traces.present():
            self._tell.step("Removing what a killed demo left behind")
            traces.remove(node.interface for node in MESH.nodes)
        try:
            traffic = self._set_up(silent_after)
            self._watch(traffic, silent_after, exit_after)
        except KeyboardInterrupt:
            pass  # the usual end
        finally:
            self._remove()
        return 1 if self._lost else 0

    def _set_up(self, silent_after: float) -> Traffic:
        traces.make_directory()
        kind = self._build_mesh()
        self._tell.step("Starting the traffic")
        self._traffic = Traffic(MESH)
        self._traffic.start()
        started = self._start_exporters()
        self._tell.members(MESH, silent_after)
        self._tell.where_to_look(started, kind)
        self._tell.step("Running; Ctrl-C ends the demo and removes everything")
        return self._traffic

    def _build_mesh(self) -> Kind:
        """Signals are checked between two nodes; each takes well under a second."""
        self._tell.step(f"Creating {len(MESH.nodes) + 1} network namespaces and the cables between them")
        underlay.build_internet()
        for node in MESH.nodes:
            self._interrupts.check()
            underlay.build_node(node)
        kind = tunnels.available()
        by = "the kernel" if kind == "kernel" else "wireguard-go, as this kernel has no WireGuard"
        self._tell.step(f"Creating a WireGuard interface in each, by {by}")
        keys = Keys(MESH)
        for node in MESH.nodes:
            self._interrupts.check()
            if kind == "kernel":
                tunnels.add_kernel_interface(node)
            else:
                tunnels.add_userspace_interface(
                    node, self._processes, traces.DIRECTORY / f"{node.interface}.log"
                )
            tunnels.configure(MESH, node, keys)
        exporters.write_directory(MESH, keys, traces.DIRECTORY / "directory.yml")
        return kind

    def _start_exporters(self) -> list[Exporter]:
        """The first exporter runs a private PostgreSQL, which records the snapshots of all."""
        planned = exporters.plan_exporters(MESH, traces.DIRECTORY)
        records: Exporter | None = planned[0]
        for number, exporter in enumerate(planned):
            wanted = exporters.FIRST_PORT + number
            taken = f" ({wanted} is taken)" if exporter.port != wanted else ""
            self._tell.step(f"Starting {exporter.name} on port {exporter.port}{taken}")
            exporters.write_config(exporter, traces.DIRECTORY / "directory.yml", records)
            process = exporters.start(exporter, self._processes)
            exporters.await_ready(exporter, process, self._interrupts)
            if exporter is records:
                self._tell.step("Waiting for its private PostgreSQL")
                if not exporters.await_database(exporter, self._interrupts):
                    records = None
                    self._tell.event(f"It does not start, so nothing is recorded; see {exporter.log}")
        return planned

    def _watch(self, traffic: Traffic, silent_after: float, exit_after: float | None) -> None:
        """Until a signal, or `exit_after` seconds."""
        began = time.monotonic()
        leaving = [peer for peer in MESH.peers if peer.goes_silent]
        while exit_after is None or time.monotonic() - began < exit_after:
            if leaving and time.monotonic() - began >= silent_after:
                self._silence(traffic, leaving.pop())
            for sentence in self._processes.describe_ended():
                self._lost = True
                self._tell.event(f"{sentence}. The rest keeps running; Ctrl-C ends the demo.")
            self._interrupts.wait(0.2)

    def _silence(self, traffic: Traffic, peer: PeerNode) -> None:
        traffic.silence(peer.name)
        underlay.pull_cable(peer)
        self._tell.event(f"The cable of {peer.entry.name} is pulled: no packets arrive from it any more")

    def _remove(self) -> None:
        with suppress(OSError):  # the terminal may be closed; the namespaces still have to be removed
            self._tell.step("Removing processes, namespaces and files")
        if self._traffic:
            self._traffic.stop()
        try:
            traces.remove(node.interface for node in MESH.nodes)
        finally:
            self._processes.reap()
        with suppress(OSError):
            self._tell.step("Everything is removed")
