"""Replies of a userspace interface, and a stale socket."""

from __future__ import annotations

import socket
from pathlib import Path

KEYS = [f"{number:064x}" for number in range(1, 4)]  # public keys, as the protocol writes them


def reply(*peers: str) -> bytes:
    return "".join(["listen_port=51820\n", *peers, "errno=0\n\n"]).encode()


def peer_lines(key: str, handshake: int = 0, received: int = 0, sent: int = 0, keepalive: int = 0) -> str:
    return (
        f"public_key={key}\nprotocol_version=1\nlast_handshake_time_sec={handshake}\n"
        f"last_handshake_time_nsec=0\ntx_bytes={sent}\nrx_bytes={received}\n"
        f"persistent_keepalive_interval={keepalive}\nallowed_ip=10.0.0.1/32\n"
    )


def stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
