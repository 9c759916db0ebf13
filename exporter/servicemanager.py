"""Messages to the service manager: sd_notify(3)."""

from __future__ import annotations

import logging
import os
import socket
import time


def notify(state: str, log: logging.Logger) -> None:
    """Sends a state such as `READY=1` to the service manager that started this process, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        name = "\0" + address[1:] if address.startswith("@") else address
        stamp = f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
        try:
            manager.sendto(f"{state}\n{stamp}".encode(), name)
        except OSError as error:
            log.warning("cannot notify the service manager at NOTIFY_SOCKET %s: %s", address, error.strerror)
