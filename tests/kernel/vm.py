"""A machine with a WireGuard kernel: Debian's own under qemu, over the host's files, which it cannot change.

The guest sees every file of the host, the project and its virtual environment included, under a layer in
memory that takes all writes; one folder, `/run/exchange` in the guest, is shared both ways. It needs no
privilege on the host and no network. Leaving the `with` block of `boot` ends it; it dies with its parent.

The guest remembers what it read of the host, which is what makes it fast: it need not see what is written
there while it runs, and a module that is edited meanwhile may look torn to it.
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
FAST_REMOVAL = "rcupdate.rcu_expedited=1"  # the kernel waits for RCU once for each peer it removes
BOOT_LIMIT = {"kvm": 60, "tcg": 300}  # seconds, per accelerator; emulation takes about ten


class VmError(Exception):
    """The guest did not come up, or went away, or did not answer; ends with what its console said."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended in the guest: its exit status and all it wrote to either output."""

    status: int
    output: str


@contextlib.contextmanager
def boot() -> Iterator[Vm]:
    """A running guest, by KVM where that works and by emulation otherwise.

    Raises `image.UnavailableError` where qemu or the kernel cannot be had, `VmError` when no boot succeeds.
    """
    if not shutil.which(QEMU):
        raise image.UnavailableError(f"{QEMU} is missing: `apt-get install qemu-system-x86` as root")
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
    """A guest, and the serial line to the agent in it."""

    def __init__(self, kernel: Path, folder: Path, accelerator: str) -> None:
        self.accelerator = accelerator
        self.exchange = folder / "exchange"  # the host's side of the shared folder
        self.exchange.mkdir()
        self._console = folder / "console"
        self._runs = 0
        self._heard = b""
        command = _command(kernel / "vmlinuz", _initramfs(kernel, folder), folder, accelerator)
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=console, bufsize=0
            )

    def wait_ready(self) -> None:
        """Return once the agent answers. Raises `VmError` when it does not within the accelerator's limit."""
        if (answer := self._hear(BOOT_LIMIT[self.accelerator])) != "ready":
            raise self._error(f"the agent of the guest says {answer!r} instead of ready")

    def run(self, command: str, timeout: float = 60, env: Mapping[str, str] | None = None) -> Completed:
        """Run a shell command as root in the guest, in this process's working directory.

        Raises `VmError` when it does not end within `timeout` seconds; the guest is then of no further use.
        """
        self._runs += 1
        number = str(self._runs)
        exports = "".join(f"export {name}={quote(value)}\n" for name, value in (env or {}).items())
        home = quote(str(Path.home()))
        script = f"export HOME={home}\n{exports}cd {quote(str(Path.cwd()))} || exit\n{command}\n"
        (self.exchange / f"{number}.sh").write_text(script)
        self._say(number)
        heard, _, status = self._hear(timeout).partition(" ")
        if heard != number:
            raise self._error(f"the agent of the guest answers {heard!r} to command {number}")
        return Completed(int(status), (self.exchange / f"{number}.out").read_text(errors="replace"))

    def console(self) -> str:
        """What the kernel and qemu said so far."""
        return self._console.read_text(errors="replace")

    def close(self) -> None:
        """End the guest: by its own way when it still listens, by signal otherwise."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._say("halt")
            self._qemu.wait(timeout=10)
        self._qemu.kill()
        self._qemu.communicate()

    def _say(self, line: str) -> None:
        assert self._qemu.stdin
        self._qemu.stdin.write(f"{line}\n".encode())

    def _hear(self, timeout: float) -> str:
        """The agent's next line, without its end."""
        assert self._qemu.stdout
        deadline = time.monotonic() + timeout
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._qemu.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise self._error(f"the guest did not answer within {timeout:g} s")
            if not (received := self._qemu.stdout.read(4096)):
                raise self._error("the guest went down")
            self._heard += received
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _error(self, what: str) -> VmError:
        return VmError(f"{what}; the end of its console:\n{self.console()[-3000:]}")


def _accelerators() -> list[str]:
    """What to try, in order. That /dev/kvm opens does not mean that a guest will run on it."""
    return ["kvm", "tcg"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else ["tcg"]


def _initramfs(kernel: Path, folder: Path) -> Path:
    """The archive that the kernel starts from: busybox, modules, the two scripts. Not compressed: faster."""
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
    """qemu with two serial lines, the console into a file and the agent's on its own input and output."""
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
