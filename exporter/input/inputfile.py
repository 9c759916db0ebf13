"""Reads the files that an operator writes: regular files of a bounded size."""

from __future__ import annotations

import os
import stat
from io import FileIO
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
    return bytes(read_into_buffer(path, max_bytes))


def read_into_buffer(path: Path, max_bytes: int = MAX_BYTES) -> bytearray:
    """The same in one buffer, which a caller can overwrite: no other copy of the contents is made."""
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(str(path), 0, "", "this is not a regular file")
            return _filled(file, path, status.st_size, max_bytes)
    except FileNotFoundError:
        raise InputError(str(path), 0, "", "no such file", "create it, or correct the path") from None
    except PermissionError:
        problem = f"user id {os.geteuid()} may not read it"
        raise InputError(str(path), 0, "", problem, "grant read permission") from None
    except OSError as error:
        raise InputError(str(path), 0, "", f"it cannot be read: {error.strerror}") from None


def _filled(file: FileIO, path: Path, size: int, max_bytes: int) -> bytearray:
    """The contents of an open file. A file that grows meanwhile is read as far as it was long at first."""
    buffer = bytearray(min(size, max_bytes + 1))
    at = 0
    with memoryview(buffer) as view:
        while at < len(buffer) and (count := file.readinto(view[at:])):
            at += count
    if size > max_bytes:
        buffer[:] = bytes(len(buffer))
        raise InputError(str(path), 0, "", f"the file is larger than {max_bytes} bytes")
    return buffer[:at] if at < len(buffer) else buffer
