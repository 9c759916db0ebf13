"""Whether a file changed since it was last read."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[int, ...]


def stamp(path: Path) -> Stamp:
    """Device, inode, size, and modification and change time; () = the file cannot be looked at.

    Differs after every change of the content, the owner or the permissions, also through a symlink.
    """
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
