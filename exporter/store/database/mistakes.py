"""Errors and checks that `settings` and `tls` share."""

from __future__ import annotations

import stat
from pathlib import Path

from exporter.errors import InputError


def wrong_setting(key: str, detail: str, remedy: str) -> InputError:
    """An error about a key of the section `database`."""
    return InputError("the configuration", 0, f"database.{key}", detail, remedy)


def wrong_variable(name: str, detail: str, remedy: str) -> InputError:
    """An error about a variable of the environment."""
    return InputError("the environment", 0, name, detail, remedy)


def check_private(path: Path) -> None:
    """Raises InputError if others can read a file with a key or a password.

    The rule is libpq's for keys: no access for group and others, but the group may read a file of root. A
    file that is missing is not checked here; its reader raises.
    """
    try:
        found = path.stat()
    except OSError:
        return
    allowed = 0o640 if found.st_uid == 0 else 0o600
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~allowed & 0o077:
        raise InputError(str(path), 0, "", f"others may read it (mode {mode:04o})", f"chmod 0600 {path}")
