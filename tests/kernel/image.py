"""Debian's own kernel, fetched as a package, taken apart and cached; nothing of it is ever installed.

    ~/.cache/argus-wireguard/linux-image-6.1.0-56-amd64/
        vmlinuz       the kernel
        busybox       static: the tools of the initramfs
        modules/      00-virtio.ko, 01-...: every module the tests need, in the order of loading

apt verifies what it downloads against the signed package lists of the machine. The smaller cloud kernel
will not do: it has no 9p, by which the guest reads the host's files.
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
    """The kernel cannot be had on this machine; the message says why and what would mend it."""


def prepare() -> Path:
    """The folder of the current kernel, made at the first call; a cached one where nothing can be downloaded.

    Raises `UnavailableError` where the machine is not amd64, or has neither package source nor cached kernel.
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
    """`linux-image-6.1.0-56-amd64`: the kernel that the package lists call current."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise UnavailableError("Debian's kernel comes by apt-get and dpkg-deb, which are not here")

    def look() -> str:
        found = re.search(r"Depends: (linux-image-\S+)", _apt("apt-cache", "depends", KERNEL))
        return found[1] if found else ""

    if package := _with_fresh_lists(look):
        return package
    raise UnavailableError(f"no package list offers {KERNEL}: is Debian's main archive among apt's sources?")


def _build(cache: Path, package: str) -> None:
    """Fill `cache/package`: made beside it and renamed, so that an interruption leaves nothing behind."""
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
        with contextlib.suppress(FileExistsError):  # another run was faster
            made.rename(cache / package)


def _extract(package: str, folder: Path) -> Path:
    """Download `package` and lay its files out in `folder`."""
    folder.mkdir()

    def download() -> Path | None:
        _apt("apt-get", "download", "-qq", package, cwd=folder)
        return next(folder.glob("*.deb"), None)

    archive = _with_fresh_lists(download)
    if not archive:
        raise UnavailableError(f"`apt-get download {package}` brings nothing: is the archive reachable?")
    subprocess.run(["dpkg-deb", "-x", archive, folder], check=True, timeout=300)
    return folder


def _with_fresh_lists(attempt: Callable[[], Found]) -> Found:
    """What `attempt` brings; if nothing, what it brings after `apt-get update`."""
    found = attempt()
    if not found:
        _apt("apt-get", "update", "-qq")
        found = attempt()
    return found


def _apt(*command: str, cwd: Path | None = None) -> str:
    """The output of an apt command. Its success shows in what it brings."""
    limited = ("timeout", "300", *command)  # a dead network is no reason to hang
    return subprocess.run(limited, cwd=cwd, capture_output=True, text=True, check=False).stdout


def _name(path: Path) -> str:
    """The module's name as the kernel writes it: `ip6_udp_tunnel` for `ip6-udp-tunnel.ko.xz`."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    """The module, which Debian 13 compresses."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _in_order(modules: Mapping[str, Path], wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """`wanted` and all they depend on, each after what it needs, as the `depends=` in each module says."""
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
