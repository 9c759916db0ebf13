"""Downloads Debian's kernel package, and unpacks it into a cache. Nothing is installed.

    ~/.cache/argus-wireguard/linux-image-6.1.0-56-amd64/
        vmlinuz       the kernel
        busybox       static: the tools of the initramfs
        modules/      00-virtio.ko, 01-...: every module that the tests need, in the order of loading

apt verifies downloads against the signed package lists of the machine. The smaller cloud kernel cannot be
used: it has no 9p, which the guest needs to read the files of the host.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")

KERNEL = "linux-image-amd64"  # the package that depends on the current kernel
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "wireguard", "veth", "dummy", "tun")


class UnavailableError(Exception):
    """The kernel cannot be used on this machine. The message says why, and how to fix it."""


def prepare() -> Path:
    """The folder of the current kernel, filled by the first call. Without a download, the newest cached
    kernel is used.

    Raises `UnavailableError` if the machine is not amd64, or has neither a package source nor a cached
    kernel.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(
            f"Debian's {KERNEL} cannot run the {platform.machine()} programs of this machine"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "argus-wireguard"
    try:
        package = _current_kernel()
        if not (cache / package).is_dir():
            _build(cache, package)
    except UnavailableError:
        cached = sorted(cache.glob("linux-image-*"), key=lambda folder: folder.stat().st_mtime)
        if not cached:
            raise
        return cached[-1]
    return cache / package


def _current_kernel() -> str:
    """The package of the current kernel in the package lists: `linux-image-6.1.0-56-amd64`."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise UnavailableError("Debian's kernel needs apt-get and dpkg-deb, which are not installed")

    def look() -> str:
        found = re.search(r"Depends: (linux-image-\S+)", _apt("apt-cache", "depends", KERNEL))
        return found[1] if found else ""

    if package := _with_fresh_lists(look):
        return package
    raise UnavailableError(f"no package list has {KERNEL}: add Debian's main archive to apt's sources")


def _build(cache: Path, package: str) -> None:
    """Fills `cache/package`. It is built under another name and renamed, so that it is never incomplete."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
        kernel = _extract(package, Path(scratch, "kernel"))
        tools = _extract("busybox-static", Path(scratch, "tools"))
        made = Path(scratch, "made")
        (made / "modules").mkdir(parents=True)
        shutil.copy(next(kernel.glob("boot/vmlinuz-*")), made / "vmlinuz")
        shutil.copy(next(tools.glob("**/bin/busybox")), made / "busybox")
        modules = {_name(path): path for path in kernel.glob("**/kernel/**/*.ko*")}
        for number, (name, content) in enumerate(_in_order(modules, MODULES)):
            (made / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
        with contextlib.suppress(FileExistsError):  # another run has built it in the meantime
            made.rename(cache / package)


def _extract(package: str, folder: Path) -> Path:
    """Downloads `package`, and unpacks it into `folder`."""
    folder.mkdir()

    def download() -> Path | None:
        _apt("apt-get", "download", "-qq", package, cwd=folder)
        return next(folder.glob("*.deb"), None)

    archive = _with_fresh_lists(download)
    if not archive:
        raise UnavailableError(
            f"`apt-get download {package}` downloads nothing: check the connection to the archive"
        )
    subprocess.run(["dpkg-deb", "-x", archive, folder], check=True, timeout=300)
    return folder


def _with_fresh_lists(attempt: Callable[[], Found]) -> Found:
    """The result of `attempt`; if it is empty, the result after `apt-get update`."""
    found = attempt()
    if not found:
        _apt("apt-get", "update", "-qq")
        found = attempt()
    return found


def _apt(*command: str, cwd: Path | None = None) -> str:
    """The output of an apt command, also if it fails."""
    limited = ("timeout", "300", *command)  # the network may not answer
    return subprocess.run(limited, cwd=cwd, capture_output=True, text=True, check=False).stdout


def _name(path: Path) -> str:
    """The kernel's name of a module: `ip6_udp_tunnel` for `ip6-udp-tunnel.ko.xz`."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    """The content of a module, which is compressed in Debian 13."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _in_order(modules: Mapping[str, Path], wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The modules `wanted` and their dependencies (`depends=` of each module), each after its own
    dependencies."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[tuple[str, bytes]]:
        if name in seen:
            return
        seen.add(name)
        content = _content(modules[name])
        depends = re.search(rb"\0depends=([^\0]+)\0", content)
        for needed in depends[1].decode().split(",") if depends else ():
            yield from visit(needed.replace("-", "_"))
        yield name, content

    for name in wanted:
        yield from visit(name)
