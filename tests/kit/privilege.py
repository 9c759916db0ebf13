"""Runs tests as an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def without_privilege() -> Iterator[None]:
    """Runs the block as an unprivileged user, because root can open every file."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def has_user_namespaces() -> bool:
    """Whether an unprivileged user can create user namespaces on this host; in a chroot it cannot."""
    ordinary = ["setpriv", "--reuid=65533", "--clear-groups", "--regid=65533"] if os.geteuid() == 0 else []
    return (
        subprocess.run([*ordinary, "unshare", "--user", "true"], capture_output=True, check=False).returncode
        == 0
    )
