"""The guest of a test session, and the outcomes of the tests that ran in it."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.image import UnavailableError
from tests.kernel.vm import EXCHANGE, Vm, VmError, boot

REPORT_VARIABLE = "ARGUS_GUEST_REPORT"  # the file for the outcomes of the tests in the guest
REPORT = "reports.jsonl"
LIMIT = 600  # seconds for all tests in the guest


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a test. `text`: the reason of a skip, or the report of a failure."""

    passed: bool
    skipped: bool = False
    text: str = ""


class Guest:
    """Boots the guest when it is first needed, and runs `tests` in it when the first outcome is needed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tests: Sequence[str] = ()  # node ids
        self._stack = contextlib.ExitStack()
        self._vm: Vm | UnavailableError | VmError | None = None
        self._outcomes: dict[str, Outcome] | None = None
        self._rest = ""  # why a test has no outcome

    def vm(self) -> Vm:
        """The running guest. Raises the `UnavailableError` or `VmError` of the first attempt."""
        if self._vm is None:
            try:
                self._vm = self._stack.enter_context(boot())
            except (UnavailableError, VmError) as error:
                self._vm = error
        if isinstance(self._vm, Vm):
            return self._vm
        raise self._vm

    def outcome(self, test: str) -> Outcome:
        """The outcome of a test, by its node id. Raises the same errors as `vm`."""
        if self._outcomes is None:
            self._outcomes = self._run(self.vm())
        return self._outcomes.get(test, Outcome(False, text=f"the test did not finish: {self._rest}"))

    def close(self) -> None:
        self._stack.close()

    def _run(self, vm: Vm) -> dict[str, Outcome]:
        pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=120"]
        command = f"cd {shlex.quote(str(self.root))} && exec {shlex.join([*pytest, *self.tests])}"
        try:
            done = vm.run(command, LIMIT, {REPORT_VARIABLE: f"{EXCHANGE}/{REPORT}"})
            self._rest = f"pytest in the guest ended with status {done.status}:\n{done.output}"
        except VmError as error:
            self._rest = str(error)
        return _outcomes(vm.exchange / REPORT)


def _outcomes(report: Path) -> dict[str, Outcome]:
    """For each test the first report of a phase that did not pass, otherwise the report of its last phase."""
    outcomes: dict[str, Outcome] = {}
    for line in report.read_text().splitlines() if report.exists() else ():
        test, phase, outcome, text = json.loads(line)
        if outcomes.get(test, Outcome(True)).passed and (phase == "teardown" or outcome != "passed"):
            outcomes[test] = Outcome(outcome == "passed", outcome == "skipped", text)
    return outcomes
