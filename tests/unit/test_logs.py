"""The daemon's log: lines of text, or one JSON object per line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime

import pytest

from exporter import logs


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Restores the root logger after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    others = {name: logging.getLogger(name).level for name in ("pyroute2", "aiohttp.access")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in others.items():
        logging.getLogger(name).setLevel(before)


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard error. Standard output must be empty."""
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_text_is_time_level_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    """A message is one line, which begins with a time and its zone."""
    logs.start("info", "text")
    logging.getLogger("argus.read").warning("interface %s is gone", "wg0")
    (line,) = written(capsys)
    when, level, message = line.split(" ", 2)
    assert datetime.strptime(when, "%Y-%m-%dT%H:%M:%S%z").tzinfo
    assert (level, message) == ("WARNING", "interface wg0 is gone")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A message is one object with time (UTC), level, logger and text; quotes and newlines are kept."""
    logs.start("debug", "json")
    said = 'name "Größe"\nand a second line'
    logging.getLogger("argus").info("%s", said)
    (line,) = written(capsys)
    entry = json.loads(line)
    assert entry.keys() == {"time", "level", "logger", "message"}
    assert (entry["level"], entry["logger"], entry["message"]) == ("info", "argus", said)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert "Größe" in line


def test_json_has_the_traceback_inside(capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback is one field of its message's line."""
    logs.start("info", "json")
    try:
        raise ZeroDivisionError("a defect")
    except ZeroDivisionError:
        logging.getLogger("argus").exception("a scrape failed")
    (line,) = written(capsys)
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("error", "a scrape failed")
    assert entry["error"].startswith("Traceback")
    assert entry["error"].endswith("ZeroDivisionError: a defect")


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages below the level are not written."""
    logs.start("warning", "text")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("argus").log(level, "said")
    assert [line.split(" ")[1] for line in written(capsys)] == ["WARNING", "ERROR"]


def test_libraries_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """At every level, pyroute2 and the access log write only warnings and errors."""
    logs.start("debug", "text")
    for name in ("pyroute2", "pyroute2.netlink", "aiohttp.access"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble in %s", name)
    assert len(written(capsys)) == 3


def test_starting_again_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    """After the log was started twice, each line is written once, in the form of the second start."""
    logs.start("info", "text")
    logs.start("info", "json")
    logging.getLogger("argus").info("once")
    (line,) = written(capsys)
    assert json.loads(line)["message"] == "once"
