"""The guest that the kernel tests run in: its commands, its files, and a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.image import UnavailableError
from tests.kernel.vm import EXCHANGE, Vm, VmError, boot

HERE = Path(__file__)


def test_commands_run_in_the_guest(vm: Vm) -> None:
    """A command gets its environment, and returns its exit status and its output, with standard error."""
    done = vm.run('echo "$GREETING" >&2; exit 7', env={"GREETING": "it's me"})
    assert (done.status, done.output) == (7, "it's me\n")


def test_the_guest_runs_wireguard(vm: Vm) -> None:
    """The guest's kernel can create a WireGuard interface."""
    done = vm.run("ip link add probe type wireguard && wg show probe && ip link delete probe")
    assert (done.status, done.output) == (0, "interface: probe\n")


def test_the_guest_reads_the_host_and_cannot_change_it(vm: Vm) -> None:
    """The guest reads the files of the host; a file that it writes exists only in the guest."""
    written = HERE.with_name("written-by-the-guest")
    done = vm.run(f"head -n 1 {HERE}; echo mine >{written}; cat {written}")
    assert (done.status, done.output) == (0, f'"""{__doc__.splitlines()[0]}"""\nmine\n')
    assert not written.exists()


def test_one_folder_is_shared_both_ways(vm: Vm) -> None:
    """Host and guest read the files that the other writes to the exchange folder."""
    (vm.exchange / "question").write_text("6 * 7\n")
    done = vm.run(f"echo $(($(cat {EXCHANGE}/question))) >{EXCHANGE}/answer")
    assert (done.status, done.output) == (0, "")
    assert (vm.exchange / "answer").read_text() == "42\n"


def test_a_crash_of_the_guest_is_reported() -> None:
    """A panic of the kernel ends the guest, and the error contains the last lines of its console."""
    try:
        with boot() as vm, pytest.raises(VmError, match=r"(?s)went down.*sysrq triggered crash"):
            vm.run("echo c >/proc/sysrq-trigger")
    except UnavailableError as missing:
        pytest.skip(str(missing))
