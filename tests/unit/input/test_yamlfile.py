"""Strict YAML: values of each type, and errors with line, key and remedy."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import InputError
from exporter.input import yamlfile
from tests.kit.paths import TESTDATA

BAD = sorted((TESTDATA / "yamlfile").glob("*.bad.yml"))


def section(text: str) -> yamlfile.Section:
    return yamlfile.parse(text, "file.yml")


def problem(error: pytest.ExceptionInfo[InputError]) -> tuple[int, str, str]:
    found = error.value
    return found.line, found.field, "; ".join(filter(None, (found.detail, found.remedy)))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name.partition(".")[0])
def test_bad_file(path: Path) -> None:
    """Each bad file gives the error that its first line announces."""
    expected = path.read_bytes().partition(b"\n")[0].decode().removeprefix("# ")
    with pytest.raises(InputError) as error:
        yamlfile.load(path)
    assert str(error.value).startswith(f"{path}:{expected}")


def test_values_of_every_type() -> None:
    """Each accessor gives its type."""
    root = section(
        """
        text: no
        quoted: "5"
        word: high
        yes_: on
        integer: -7
        number: 13.25
        time: 1h30m
        path: web.yml
        list: [a, 1, yes]
        single: all
        """
    )
    assert root.string("text", "") == "no"
    assert root.string("quoted", "") == "5"
    assert root.choice("word", ("low", "high"), "low") == "high"
    assert root.boolean("yes_", False) is True
    assert root.integer("integer", 0, -10, 10) == -7
    assert root.number("number", 0.0, -180, 180) == 13.25
    assert root.seconds("time", 0.0) == 5400
    assert root.path("path", None) == Path("web.yml")
    assert root.strings("list") == ("a", "1", "yes")
    assert root.strings("single") == ("all",)
    root.finish()


def test_defaults_where_nothing_is_written() -> None:
    """An empty file gives every default, also in missing sections."""
    root = section("# nothing\n")
    assert root.string("a", None) is None
    assert root.choice("b", ("x",), "x") == "x"
    assert root.boolean("c", True) is True
    assert root.integer("d", 3, 0, 1) == 3
    assert root.number("e", 1.5, 0, 1) == 1.5
    assert root.seconds("f", 9.0) == 9
    assert root.path("g", None) is None
    assert root.strings("h", ("x",)) == ("x",)
    assert root.sections("i") == ()
    nested = root.section("j").section("k")
    assert nested.string("l", "deep") == "deep"
    assert nested.line == 0
    root.finish()


def test_empty_sections_and_lists() -> None:
    """A section or a list without a value is empty; a scalar without a value is an error."""
    root = section("a:\nb:\nc: ~\nd:\n")
    assert root.section("a").keys() == ()
    assert root.strings("b", ("x",)) == ()
    assert root.sections("c") == ()
    with pytest.raises(InputError) as error:
        root.string("d", "")
    assert problem(error) == (4, "d", "is empty; write a text, or leave the key out")


def test_lists_of_sections() -> None:
    """An error in a list of mappings names the item."""
    root = section("jobs:\n  - name: a\n  - name: b\n    tiem: 1\n")
    first, second = root.sections("jobs")
    assert (first.string("name", ""), second.string("name", "")) == ("a", "b")
    first.finish()
    with pytest.raises(InputError) as error:
        second.finish()
    assert problem(error) == (4, "jobs[1].tiem", "unknown key; known keys: name")


@pytest.mark.parametrize("text", ["jobs: [a]", "jobs: {a: 1}", "jobs: a"])
def test_not_a_list_of_sections(text: str) -> None:
    """Any value other than a list of mappings is an error."""
    with pytest.raises(InputError) as error:
        section(text).sections("jobs")
    assert problem(error)[:2] == (1, "jobs")


def test_keys_that_are_data() -> None:
    """A mapping whose keys are names gives them in order, with their lines."""
    users = section("users:\n  zoe: x\n  adam: y\n").section("users")
    assert users.keys() == ("zoe", "adam")
    assert [users.line_of(name) for name in (*users.keys(), "eve")] == [2, 3, 0]
    assert "zoe" in users
    assert "eve" not in users


def test_errors_of_the_caller() -> None:
    """An error of the caller has the line of the key, or of the section when the key is missing."""
    tls = section("a: 1\ntls:\n  cert: x\n").section("tls")
    assert str(tls.error("cert", "is bad")) == "file.yml:3: tls.cert: is bad"
    assert str(tls.error("key", "is missing")) == "file.yml:2: tls.key: is missing"


def test_known_keys_are_named() -> None:
    """The error about an unknown key that resembles none lists the known keys."""
    root = section("zzz: 1")
    root.string("name", "")
    root.integer("age", 0, 0, 9)
    with pytest.raises(InputError) as error:
        root.finish()
    assert problem(error) == (1, "zzz", "unknown key; known keys: age, name")


def test_aliases_are_read() -> None:
    """An alias has the value of its anchor."""
    root = section("a: &x {n: 1}\nb: *x\n")
    assert root.section("b").integer("n", 0, 0, 9) == 1


@pytest.mark.parametrize("value", ["1_000", "010", "1.0", "'1'", "1e3", "٣", "9" * 30, ".nan"])
def test_not_an_integer(value: str) -> None:
    """A text that only some programs read as an integer is an error."""
    with pytest.raises(InputError):
        section(f"a: {value}").integer("a", 0, 0, 10**40)


@pytest.mark.parametrize("value", [".inf", ".nan", "1e3", "'1'", "1,5", "1."])
def test_not_a_number(value: str) -> None:
    """A number has decimal digits only; infinity is an error."""
    with pytest.raises(InputError):
        section(f"a: {value}").number("a", 0.0, -1e9, 1e9)


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    """A relative path starts at the directory of the file; an absolute path is unchanged."""
    file = tmp_path / "c.yml"
    file.write_text("a: web.yml\nb: /etc/web.yml\n")
    root = yamlfile.load(file)
    assert root.path("a", None) == tmp_path / "web.yml"
    assert root.path("b", None) == Path("/etc/web.yml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory, a named pipe and a large file each have their error."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_text("a: 12345")
    problems = {
        "missing": "no such file",
        "pipe": "not a regular file",
        "large": "larger than 7 bytes",
        "": "dir",
    }
    for name, expected in problems.items():
        with pytest.raises(InputError, match=rf"^{tmp_path / name}: .*{expected}") as error:
            yamlfile.load(tmp_path / name, max_bytes=7)
        assert error.value.line == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_file_without_permission(tmp_path: Path) -> None:
    """The error about a file without read permission names the user."""
    file = tmp_path / "secret"
    file.write_text("a: 1")
    file.chmod(0o600)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(InputError, match="user id 65534 may not read it"):
            yamlfile.load(file)
    finally:
        os.seteuid(0)


def test_undecodable_file_stays_out_of_the_error(tmp_path: Path) -> None:
    """The error about an encoding does not contain the file, which may hold secrets."""
    file = tmp_path / "c.yml"
    file.write_bytes(b"password: s3cret\xff\n")
    with pytest.raises(InputError) as error:
        yamlfile.load(file)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark is not part of the first key."""
    file = tmp_path / "c.yml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert yamlfile.load(file).keys() == ("a",)


SCALARS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)
TREES = st.recursive(SCALARS, lambda inner: st.dictionaries(SCALARS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(SCALARS, TREES, max_size=4))
def test_texts_survive(tree: dict[str, Any]) -> None:
    """Texts that a YAML library writes are read back unchanged."""

    def check(found: yamlfile.Section, expected: dict[str, Any]) -> None:
        assert found.keys() == tuple(expected)
        for key, value in expected.items():
            if isinstance(value, dict):
                check(found.section(key), value)
            else:
                assert found.string(key, None) == value
        found.finish()

    check(section(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)), tree)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text gives a section or an `InputError`."""
    with contextlib.suppress(InputError):
        assert isinstance(section(text), yamlfile.Section)
