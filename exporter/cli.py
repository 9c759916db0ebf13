"""The command `argus-wg`. Exit codes: 0 success, 1 failed (the check or the command), 2 wrong usage."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NoReturn

from exporter import __version__
from exporter.errors import ArgusError, InputError

# Each command is a module with `add_arguments(parser)` and `run(arguments) -> exit code`. It is imported only
# when it runs, so that a command imports only the libraries that it needs.
COMMANDS = {
    "serve": (
        "exporter.commands.serve",
        "run the exporter",
        "argus-wg serve --config /etc/argus-wireguard/argus-wg.yml",
    ),
    "show": (
        "exporter.commands.show",
        "show a live table of peers: state, handshake age, rates",
        "argus-wg show wg0 --once",
    ),
    "check": ("exporter.commands.check", "find what would fail, and how to fix it", "argus-wg check --json"),
    "migrate": (
        "exporter.commands.migrate",
        "migrate the schema of the database to this version",
        "argus-wg migrate --check",
    ),
    "maintain": (
        "exporter.commands.maintain",
        "create, compact and drop daily partitions now",
        "argus-wg maintain --raw-days 2",
    ),
    "reclassify": (
        "exporter.commands.reclassify",
        "change the clearance of recorded data",
        "argus-wg reclassify --organisation acme --gateway gw-berlin-1 --clearance 3 --check",
    ),
    "bundle": (
        "exporter.commands.bundle",
        "write alerts, runbooks and dashboards to a directory",
        "argus-wg bundle /etc/prometheus/argus",
    ),
    "demo": ("exporter.commands.demo", "run a real mesh with the exporter on it", "argus-wg demo"),
}


class Parser(argparse.ArgumentParser):
    """Prints an error in one line, and the command that prints help; `helper` "" = the parser itself."""

    helper = ""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\nTry: {self.helper or self.prog} --help\n")


def build(command: str | None) -> Parser:
    """The parser. Only the named command adds its options; the others have a summary."""
    parser = Parser(
        prog="argus-wg",
        description="Argus WireGuard: exports every peer of a WireGuard gateway to Prometheus.",
        epilog="Exit codes: 0 done, 1 the answer is no or something failed, 2 wrong usage or configuration.\n"
        "Example: argus-wg check && argus-wg serve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=f"argus-wg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, (module, summary, example) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"Example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == command:
            loaded = import_module(module)
            loaded.add_arguments(sub)
            sub.set_defaults(run=loaded.run)
            parser.helper = sub.prog
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code. Raises `SystemExit` where argparse does: help, version, wrong usage."""
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            if sys.stdout:  # None when it was closed before the start
                sys.stdout.flush()
    except InputError as error:
        print(f"argus-wg: {error}", file=sys.stderr)
        return 2
    except ArgusError as error:
        print(f"argus-wg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # usually of standard output, whose buffer would be written again at exit
        if not isinstance(error, BrokenPipeError):  # as with `| head`
            print(f"argus-wg: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(words: list[str]) -> int:
    command = next((word for word in words if word in COMMANDS), None)
    parsed = build(command).parse_args(words)
    run: Callable[[argparse.Namespace], int] = parsed.run
    return run(parsed)


if __name__ == "__main__":
    sys.exit(main())
