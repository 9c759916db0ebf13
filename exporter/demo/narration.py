"""The output of the demo: each step, the members of the mesh, and where to look."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.demo.exporters import Exporter
from exporter.demo.plan import Mesh, Node, PeerNode
from exporter.model import Kind


class Narrator:
    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        self._console.print(Text("▸ ", "bold cyan") + Text(text), soft_wrap=True)

    def event(self, text: str) -> None:
        self._console.print(Text("● ", "bold yellow") + Text(text), soft_wrap=True)

    def members(self, mesh: Mesh, silent_after: float) -> None:
        table = Table(title="The mesh", title_justify="left", title_style="bold")
        for heading in ("on", "peer", "allowed IPs", "expected"):
            table.add_column(heading, no_wrap=True)
        table.add_column("what it does")
        for gateway in mesh.gateways:
            others = (other for other in mesh.gateways if other is not gateway)
            for node in (*mesh.peers_of(gateway), *others):
                table.add_row(gateway.name, *_row(node, silent_after))
            table.add_section()
        self._console.print(table)

    def where_to_look(self, exporters: Sequence[Exporter], kind: Kind) -> None:
        """Prints commands that can be copied."""
        self._heading("Where to look")
        for exporter in exporters:
            self._command(f"curl -s {exporter.url}/metrics", f"all metrics of {exporter.gateway.name}")
            self._command(f"{_argus_wg()} show --config {exporter.config}", "the same as a live table")
        first = exporters[0]
        self._heading("What to look for")
        for pattern, meaning in (
            ("wireguard_peer_handshake_age_seconds", "seconds since each peer's last handshake"),
            ("wireguard_peer_receive_bytes_total", "one of them stops growing, one grows in steps"),
            ("wireguard_peer_last_handshake_timestamp_seconds.* 0$", "peers that never connected"),
            ("wireguard_peer_info", "name, site, role and expectation of each peer"),
            ("^wireguard_exporter_", "metrics about the exporter itself"),
        ):
            self._command(f"curl -s {first.url}/metrics | grep '{pattern}'", meaning)
        node = first.gateway
        wg = f"ip netns exec {node.namespace} wg show" if kind == "kernel" else f"wg show {node.interface}"
        self._command(wg, "the same tunnels in WireGuard's own tool")
        if first.password_file.exists():
            self._heading("Records of both gateways")
            psql = f'PGPASSWORD="$(cat {first.password_file})" psql -h {first.database} -U argus argus'
            self._command(
                f"{psql} -c 'select gateway, name, receive_total, transmit_total from argus.peer_latest'",  # noqa: S608
                "totals across counter resets",
            )

    def _heading(self, text: str) -> None:
        self._console.print(Text("\n" + text, "bold"))

    def _command(self, command: str, meaning: str) -> None:
        self._console.print(Text(f"  {command}", "green") + Text(f"  # {meaning}", "dim"), soft_wrap=True)


def _argus_wg() -> str:
    """The command to type: its name, or its path in a virtual environment."""
    if shutil.which("argus-wg"):
        return "argus-wg"
    program = Path(sys.executable).with_name("argus-wg")
    return str(program) if program.exists() else f"{sys.executable} -m exporter.cli"


def _row(node: Node, silent_after: float) -> tuple[str, str, str, str]:
    story = node.story
    if isinstance(node, PeerNode) and node.goes_silent:
        story += f" after {silent_after:.0f} s"
    return node.entry.name, "\n".join(node.allowed_ips), node.entry.expected, story
