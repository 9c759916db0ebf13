"""A virtual machine with Debian's kernel, which has WireGuard, under qemu.

The guest reads the files of the host, with the project and its virtual environment. Its writes go to memory
and do not change the host. One folder, `/run/exchange` in the guest, is shared for reading and writing. The
guest needs no privileges on the host and no network. It ends with the `with` block of `boot`, or with the
process that started it.

The guest caches files of the host for speed. Changes on the host during a run may not be visible, and a file
that is edited during a run may be read half old and half new.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tests.kernel import image

HERE = Path(__file__).parent
QEMU = "qemu-system-x86_64"
EXCHANGE = "/run/exchange"
MEMORY = "2G"
FAST_REMOVAL = "rcupdate.rcu_expedited=1"  # the kernel waits for RCU once for each removed peer
BOOT_LIMIT = {"kvm": 60, "tcg": 300}  # seconds, per accelerator; emulation takes about ten


class VmError(Exception):
    """The guest did not boot, ended, or did not answer. The message contains the end of its console."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The result of a command in the guest: exit status, and standard output and error together."""

    status: int
    output: str


@contextlib.contextmanager
def boot() -> Iterator[Vm]:
    """Boots a guest, with KVM if that works, otherwise with emulation.

    Raises `image.UnavailableError` without qemu or kernel, `VmError` if the guest does not boot.
    """
    if not shutil.which(QEMU):
        raise image.UnavailableError(
            f"{QEMU} is not installed: run `apt-get install qemu-system-x86` as root"
        )
    kernel = image.prepare()
    for accelerator in _accelerators():
        with tempfile.TemporaryDirectory(prefix="argus-vm-") as folder:
            vm = Vm(kernel, Path(folder), accelerator)
            try:
                vm.wait_ready()
            except VmError:
                vm.close()
                if accelerator == "tcg":
                    raise
                continue
            try:
                yield vm
            finally:
                vm.close()
            return


class Vm:
    """A guest, and the serial line to its agent."""

    def __init__(self, kernel: Path, folder: Path, accelerator: str) -> None:
        self.accelerator = accelerator
        self.exchange = folder / "exchange"  # the host's side of the shared folder
        self.exchange.mkdir()
        self._console = folder / "console"
        self._runs = 0
        self._received = b""
        command = _command(kernel / "vmlinuz", _initramfs(kernel, folder), folder, accelerator)
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=console, bufsize=0
            )

    def wait_ready(self) -> None:
        """Waits until the agent answers. Raises `VmError` after the accelerator's limit."""
        if (answer := self._read_line(BOOT_LIMIT[self.accelerator])) != "ready":
            raise self._error(f"the agent of the guest answered {answer!r}; it must be ready")

    def run(self, command: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> Completed:
        """Runs a shell command as root in the guest, in this process's working directory.

        Raises `VmError` if it does not end within `timeout` seconds; the guest cannot be used after that.
        """
        self._runs += 1
        number = str(self._runs)
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in (env or {}).items())
        home = quote(str(Path.home()))
        script = f"export HOME={home}\n{exports}cd {quote(str(Path.cwd()))} || exit\n{command}\n"
        (self.exchange / f"{number}.sh").write_text(script)
        self._send(number)
        answer, _, status = self._read_line(timeout).partition(" ")
        if answer != number:
            raise self._error(f"the agent of the guest answered {answer!r} to command {number}")
        return Completed(int(status), (self.exchange / f"{number}.out").read_text(errors="replace"))

    def console(self) -> str:
        """The output of the kernel and of qemu so far."""
        return self._console.read_text(errors="replace")

    def close(self) -> None:
        """Shuts the guest down; kills it if it does not answer."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._send("halt")
            self._qemu.wait(timeout=10)
        self._qemu.kill()
        self._qemu.communicate()

    def _send(self, line: str) -> None:
        assert self._qemu.stdin
        self._qemu.stdin.write(f"{line}\n".encode())

    def _read_line(self, timeout: float) -> str:
        """The next line from the agent."""
        assert self._qemu.stdout
        deadline = time.monotonic() + timeout
        while b"\n" not in self._received:
            ready, _, _ = select.select([self._qemu.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise self._error(f"the guest did not answer within {timeout:g} s")
            if not (received := self._qemu.stdout.read(4096)):
                raise self._error("the guest went down")
            self._received += received
        line, _, self._received = self._received.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _error(self, what: str) -> VmError:
        return VmError(f"{what}; the end of its console:\n{self.console()[-3000:]}")


def _accelerators() -> list[str]:
    """The accelerators to try, in order. KVM may fail although /dev/kvm can be opened."""
    return ["kvm", "tcg"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else ["tcg"]


def _initramfs(kernel: Path, folder: Path) -> Path:
    """The initramfs with busybox, the modules and the two scripts. It is not compressed, which boots
    faster."""
    stage = folder / "initramfs"
    shutil.copytree(kernel / "modules", stage / "modules")
    shutil.copy(kernel / "busybox", stage)
    shutil.copy(HERE / "init.sh", stage / "init")
    shutil.copy(HERE / "agent.sh", stage / "agent")
    (stage / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(stage)) for path in sorted(stage.rglob("*")))
    archive = folder / "initramfs.cpio"
    with archive.open("wb") as output:
        subprocess.run(
            [stage / "busybox", "cpio", "-o", "-H", "newc"],
            cwd=stage, input=names.encode(), stdout=output, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    return archive


def _command(vmlinuz: Path, initramfs: Path, folder: Path, accelerator: str) -> list[str]:
    """The command of qemu with two serial lines: the console to a file, the agent to standard input and
    output."""
    root = "local,id=root,path=/,readonly=on,security_model=none,multidevs=remap"
    exchange = f"local,id=exchange,path={folder}/exchange,security_model=none"
    return [
        *("setpriv", "--pdeathsig", "KILL", QEMU),
        *("-accel", accelerator, "-cpu", "max", "-smp", "2", "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-kernel", str(vmlinuz), "-initrd", str(initramfs)),
        *("-append", f"console=ttyS0 quiet panic=-1 rdinit=/init {FAST_REMOVAL}"),
        *("-chardev", f"file,id=console,path={folder}/console,append=on", "-serial", "chardev:console"),
        *("-serial", "stdio"),
        *("-fsdev", root, "-device", "virtio-9p-pci,fsdev=root,mount_tag=host"),
        *("-fsdev", exchange, "-device", "virtio-9p-pci,fsdev=exchange,mount_tag=exchange"),
    ]
