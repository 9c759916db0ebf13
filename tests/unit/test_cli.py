"""The command line: exit codes, help, and errors in one line."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from exporter import __version__, cli
from exporter.commands import options
from exporter.errors import ArgusError, InputError
from tests.kit.paths import PROJECT

PATIENCE = 30.0  # seconds
COMMANDS = sorted(cli.COMMANDS)
ESCAPE = "\x1b"


def argus(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The output of the command in an otherwise empty environment, as from a service manager."""
    return subprocess.run(
        [sys.executable, "-m", "exporter.cli", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The output of `--help`."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


class TestHelp:
    def test_of_the_whole_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The help lists each command with its summary, the exit codes and an example."""
        page = helped(capsys)
        for name, (_, summary, _) in cli.COMMANDS.items():
            assert re.search(rf"^ +{name} +{re.escape(summary)}$", page, re.MULTILINE)
        assert "Exit codes: 0 done" in page
        assert "Example: argus-wg" in page

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_a_command_has_an_example_that_works(
        self, capsys: pytest.CaptureFixture[str], command: str
    ) -> None:
        """Every option has a help text, and the example is a valid call of this command."""
        page = helped(capsys, command)
        (example,) = re.findall(r"^Example: argus-wg (.*)$", page, re.MULTILINE)
        words = shlex.split(example)
        assert words[0] == command
        module = import_module(cli.COMMANDS[command][0])
        assert cli.build(command).parse_args(words).run is module.run
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        assert not [action.dest for action in parser._actions if not action.help]

    def test_needs_no_library_of_a_command(self) -> None:
        """The list of commands imports neither a command nor a library of one."""
        code = "import sys, exporter.cli as c; c.build(None); print(*sorted(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.split())
        assert "exporter.cli" in loaded
        assert not loaded & {"aiohttp", "rich", "pyroute2", "exporter.daemon", "exporter.commands.show"}

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--version` prints the command and the package's version."""
        with pytest.raises(SystemExit) as ended:
            cli.main(["--version"])
        assert (ended.value.code, capsys.readouterr().out) == (0, f"argus-wg {__version__}\n")


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "required: COMMAND"),
            (["dance"], "'dance'"),
            (["--dance"], "required: COMMAND"),
            (["serve", "--dance"], "--dance"),
            (["serve", "now"], "now"),
            (["show", "--interval", "soon"], "soon"),
            (["show", "--sort", "colour"], "colour"),
            (["check", "--config"], "--config"),
            (["demo", "--exit-after", "never"], "never"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_is_said_in_one_line(
        self, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        """Exit code 2, the error, and the command for help; nothing on standard output."""
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        printed = capsys.readouterr()
        assert (ended.value.code, printed.out) == (2, "")
        wrong, help_is_at = printed.err.splitlines()
        assert wrong.startswith("argus-wg")
        assert said in wrong
        assert re.fullmatch(r"Try: argus-wg( \w+)? --help", help_is_at)

    @pytest.mark.parametrize("command", ["serve", "show", "check"])
    def test_a_configuration_that_is_wrong(self, tmp_path: Path, command: str) -> None:
        """Exit code 2, with file, line and key; no command prints a traceback."""
        file = tmp_path / "argus.yml"
        file.write_text("gateway: berlin\nlisten_on: 127.0.0.1:0\n")
        done = argus(command, "--config", str(file))
        assert done.returncode == 2
        assert f"{file}:2: listen_on" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("command", ["serve", "show", "check"])
    def test_a_configuration_that_is_not_there(self, tmp_path: Path, command: str) -> None:
        """A file that was named must exist: the defaults are not used instead."""
        file = tmp_path / "argus.yml"
        done = argus(command, "--config", str(file))
        assert done.returncode == 2
        assert f"{file}: no such file" in done.stdout + done.stderr


class TestExitCodes:
    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (
                InputError("a.yml", 3, "key", "must be a number"),
                2,
                "argus-wg: a.yml:3: key: must be a number\n",
            ),
            (ArgusError("the port is taken"), 1, "argus-wg: the port is taken\n"),
            (KeyboardInterrupt(), 130, ""),
        ],
        ids=["input", "failure", "interrupt"],
    )
    def test_each_kind_of_failure_has_its_own(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        error: BaseException,
        code: int,
        said: str,
    ) -> None:
        """A mistake in a file is 2, any other failure 1, Ctrl-C 130; each prints one line at most."""

        def run(_: object) -> int:
            raise error

        monkeypatch.setattr("exporter.commands.check.run", run)
        assert cli.main(["check"]) == code
        assert capsys.readouterr() == ("", said)

    def test_a_defect_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unexpected exception is not caught, so its traceback is printed."""

        def run(_: object) -> int:
            raise ZeroDivisionError

        monkeypatch.setattr("exporter.commands.check.run", run)
        with pytest.raises(ZeroDivisionError):
            cli.main(["check"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["check"], ["check", "--json"]], ids=" ".join
)
def test_a_reader_that_ended(arguments: list[str]) -> None:
    """When the reader of its output has ended, as with `| head`, a command ends silently with 1."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "exporter.cli", *arguments],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"]},  # PYTHONUNBUFFERED would show only half of it
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", [["check"], ["show", "--once"]], ids=" ".join)
def test_no_colour_with_no_color_or_without_a_terminal(arguments: list[str]) -> None:
    """With NO_COLOR, and always in a file or pipe, the output has no colour."""
    for environment in ({"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "xterm"}):
        done = argus(*arguments, **environment)
        assert done.stdout + done.stderr
        coloured = re.findall(rf"{ESCAPE}\[[0-9;]*3[0-9][0-9;]*m", done.stdout + done.stderr)
        assert not coloured


def test_the_console_script_is_this() -> None:
    """pyproject.toml installs `argus-wg` as the function tested here."""
    assert 'argus-wg = "exporter.cli:main"' in (PROJECT / "pyproject.toml").read_text()


def test_the_default_configuration_is_used_if_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The named file is used, else the one in /etc, else none."""
    there = tmp_path / "argus-wg.yml"
    monkeypatch.setattr(options, "DEFAULT_CONFIG", there)
    assert options.config_path(None) is None
    there.touch()
    assert options.config_path(None) == there
    assert options.config_path(Path("other.yml")) == Path("other.yml")
