"""The pages agree with the code: keys, commands, options, links, files, examples."""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import cli, config
from exporter.config import Config, keys
from tests.kit.directory import load_directory
from tests.kit.pages import PAGES, ROOT, fenced, names, rows

README = PAGES["README.md"]
OPERATIONS = PAGES["docs/operations.md"]
DIRECTORY_KEYS = {"defaults", "sites", "peers"}
CONFIG_KEYS = {key.partition(".")[0] for key in keys()}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"(?<![\w./-])((?:docs|deploy|exporter|tests|bench|alerts|dashboards)/[\w./-]*\w)(?![\w*])")


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` → `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for dotted, value in flat.items():
        *above, last = dotted.split(".")
        inner = found
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return found


def test_every_key_is_documented() -> None:
    """The README's table has every key of the configuration, in the order of the code, and no other."""
    assert [names(row[0])[0] for row in rows(README, "key")] == keys()


def test_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """A file with the README's defaults gives the same configuration as no file."""
    written = {
        names(key)[0]: yaml.safe_load(names(default)[0])
        for key, default, _ in rows(README, "key")
        if names(default)
    }
    assert (
        len(written) >= len(keys()) - 11
    )  # not in backticks: the host name, "none", defaults that the environment can change
    file = tmp_path / "argus-wg.yml"
    file.write_text(yaml.safe_dump(nested(written)))
    assert config.load(file) == Config()


def test_the_example_shows_every_key() -> None:
    """deploy/argus-wg.yml shows every key of the configuration, keys without a default in a comment."""
    text = re.sub(
        r"^( *)# (\w+: \S+)$", r"\1\2", (ROOT / "deploy/argus-wg.yml").read_text(), flags=re.MULTILINE
    )
    example = yaml.safe_load(text)
    for key in keys():
        inner = example
        for name in key.split("."):
            assert name in inner, key
            inner = inner[name]


def section(command: str) -> str:
    """The text of docs/operations.md about a command: its section, and the text before the first one."""
    common, *sections = re.split(r"^### ", OPERATIONS.partition("\n## Reload")[0], flags=re.MULTILINE)
    own = [text for text in sections if text.partition("\n")[0] == command]
    return "\n".join([common, *own, PAGES["docs/demo.md"] if command == "demo" else ""])


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Every spelling of every option."""
    return [option for action in parser._actions for option in action.option_strings]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_and_option_is_documented(command: str) -> None:
    """Every command, and every spelling of its options, is in docs/operations.md."""
    assert f"argus-wg {command}" in OPERATIONS
    parser = argparse.ArgumentParser(add_help=False)
    import_module(cli.COMMANDS[command][0]).add_arguments(parser)
    for option in options_of(parser):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", section(command)), f"{command} {option}"


def test_options_of_all_commands_are_documented() -> None:
    """`--version` and `--help` are also in docs/operations.md."""
    for option in options_of(cli.build(None)):
        assert option == "-h" or option in section(""), option


@pytest.mark.parametrize("page", sorted(PAGES))
def test_documented_options_exist(page: str) -> None:
    """Every option after `argus-wg COMMAND` on a page is an option of that command."""
    for command in cli.COMMANDS:
        parser = argparse.ArgumentParser()
        import_module(cli.COMMANDS[command][0]).add_arguments(parser)
        for words in re.findall(rf"argus-wg {command}\b([^\n`|#;]*)", PAGES[page]):
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", words):
                assert option in options_of(parser), f"{page}: argus-wg {command} {option}"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    """The file of every relative link exists and has the heading that the link names."""
    base = (ROOT / page).parent
    for target in LINK.findall(PAGES[page]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = base / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(file.read_text()), f"{page}: {target}"


def anchors(page: str) -> set[str]:
    """The headings of a page as links name them: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_files_that_pages_name_exist(page: str) -> None:
    """Every file of this repository that a page names exists."""
    for name in set(FILE.findall(PAGES[page])):
        assert (ROOT / name).exists(), f"{page}: {name}"


DRAWINGS = [(page, text) for page in sorted(PAGES) for text in fenced(PAGES[page], "mermaid")]


@pytest.mark.parametrize(("page", "text"), DRAWINGS, ids=[page for page, _ in DRAWINGS])
def test_labels_of_drawings_are_quoted(page: str, text: str) -> None:
    """A label with other characters than letters and digits is in quotes: Mermaid requires it of many."""
    for label in re.findall(r"[\[(]+([^\[\]()]+)[\])]+|\|([^|]+)\|", text):
        assert re.fullmatch(r'\w+|"[^"]+"', "".join(label)), f"{page}: {label}"


EXAMPLES = [(page, text) for page in sorted(PAGES) for text in fenced(PAGES[page], "yaml")]


@pytest.mark.parametrize(
    ("page", "text"), EXAMPLES, ids=[f"{page}-{at}" for at, (page, _) in enumerate(EXAMPLES)]
)
def test_examples_load(page: str, text: str, tmp_path: Path) -> None:
    """The exporter accepts every example of a configuration or a directory."""
    first = next(iter(yaml.safe_load(text)))
    file = tmp_path / "example.yml"
    file.write_text(text)
    if first in CONFIG_KEYS:
        config.load(file)
    elif first in DIRECTORY_KEYS:
        assert load_directory([file]).entries
    else:  # for Prometheus, or a web configuration, which other tests load
        assert first in ("scrape_configs", "groups", "tls_server_config", "basic_auth_users", "rate_limit"), (
            page
        )


def test_there_are_examples_of_both() -> None:
    """The examples of a configuration and a directory in the README are among those that are loaded."""
    found = {next(iter(yaml.safe_load(text))) for page, text in EXAMPLES if page == "README.md"}
    assert found & CONFIG_KEYS
    assert found & DIRECTORY_KEYS
