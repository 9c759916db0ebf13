"""Reads the files that an operator writes: regular files of a bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from exporter.errors import InputError

MAX_BYTES = 1 << 20  # of a configuration file


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A regular UTF-8 file as text. Raises `InputError` when the file cannot be read or decoded."""
    data = read_bytes(path, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    # Raised outside the handler: a UnicodeDecodeError holds the whole file, which may contain secrets.
    raise InputError(str(path), line, "", "the text is not UTF-8", "save the file in that encoding")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """A regular file of at most `max_bytes`. Raises `InputError` when the file cannot be read."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(str(path), 0, "", "this is not a regular file")
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise InputError(str(path), 0, "", "no such file", "create it, or correct the path") from None
    except PermissionError:
        problem = f"user id {os.geteuid()} may not read it"
        raise InputError(str(path), 0, "", problem, "grant read permission") from None
    except OSError as error:
        raise InputError(str(path), 0, "", f"it cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise InputError(str(path), 0, "", f"the file is larger than {max_bytes} bytes")
    return data
