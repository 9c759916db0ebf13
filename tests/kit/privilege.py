"""Doing something as another user than root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def without_privilege() -> Iterator[None]:
    """As an ordinary user: root may open everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def has_user_namespaces() -> bool:
    """Whether an ordinary user may make user namespaces here; in a chroot nobody may."""
    ordinary = ["setpriv", "--reuid=65533", "--clear-groups", "--regid=65533"] if os.geteuid() == 0 else []
    return (
        subprocess.run([*ordinary, "unshare", "--user", "true"], capture_output=True, check=False).returncode
        == 0
    )
