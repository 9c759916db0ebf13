"""Runs a program of PostgreSQL without privileges; the kernel sends it a signal when the daemon ends.

    python -I -S launch.py SIGNAL PARENT UID GID ALIAS PROGRAM ARGUMENT…

UID and GID: -1 keeps the present user and group. ALIAS: the uid that the program sees as its own, in a user
namespace with this uid only; -1 = no namespace. setpriv(1) does most of this, but calls capset(2), which a
hardened service may not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

# linux/prctl.h, linux/sched.h
_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVS, _AMBIENT, _CLEAR_ALL = 1, 4, 38, 47, 4
_NEW_USER = 0x10000000

_libc = ctypes.CDLL(None, use_errno=True)


def main(numbers: list[int], command: list[str]) -> None:
    """Replace this process by the program. Raises OSError."""
    how, parent, uid, gid, alias = numbers
    _prctl(_AMBIENT, _CLEAR_ALL)
    _prctl(_NO_NEW_PRIVS, 1)
    if uid >= 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if alias >= 0:
        _alias(alias)
    _prctl(_PDEATHSIG, how)  # last: the kernel clears it when the user or capabilities change
    if os.getppid() != parent:
        sys.exit("the daemon has ended already")
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would keep that
        signal.signal(ignored, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def _alias(alias: int) -> None:
    """Give this user another uid in a new user namespace, which needs no privilege: user_namespaces(7)."""
    uid, gid = os.getuid(), os.getgid()
    _prctl(_DUMPABLE, 1)  # after a change of user its files in /proc belong to root
    _check(_libc.unshare(_NEW_USER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{alias} {uid} 1"),
        ("gid_map", f"{alias} {gid} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text)


def _prctl(option: int, argument: int) -> None:
    _check(_libc.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0))))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    try:
        main(list(map(int, sys.argv[1:6])), sys.argv[6:])
    except OSError as error:
        sys.exit(f"the program cannot be started: {error}")
