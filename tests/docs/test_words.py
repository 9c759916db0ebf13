"""Documentation, alerts, comments and texts of the program contain no word of a list of hard words."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

from tests.kit.pages import ROOT

# Each with what to write instead. Readers of such sentences had to search for the subject, or met a word that
# manuals do not use. docs/glossary.md has the words for the things of Argus.
HARD = {
    r"mend(?:s|ed|ing)?": "fix",
    r"(?:is|are|was|were|be|been) told": "is logged, reported, sent or shown",
    r"(?:begins?|began|begun|made) anew": "begins again, was reset, was created again",
    r"(?:that|this) one's": "the name of its owner",
    r"stands? (?:in(?! for)|on|beside)": "is in, is on",
    r"reckoned": "calculated",
}
BETWEEN = r"[\s#]+"  # words, also where a line ends
PATTERN = re.compile("|".join(rf"\b(?:{words.replace(' ', BETWEEN)})\b" for words in HARD), re.IGNORECASE)
FILES = sorted(
    path
    for pattern in (
        *("*.md", "Makefile", "docs/*.md", "deploy/*"),
        *("alerts/**/*.md", "alerts/**/*.yml", "alerts/**/*.tmpl", "exporter/**/*.py", "exporter/**/*.sql"),
    )
    for path in ROOT.glob(pattern)
)


def prose(path: Path) -> str:
    """A file's text; of a program only its comments and strings, each line where it is in the file."""
    if path.suffix != ".py":
        return path.read_text()
    lines = [""] * (path.read_text().count("\n") + 1)
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING):
                for number, line in enumerate(token.string.splitlines(), token.start[0] - 1):
                    lines[number] += f" {line}"
    return "\n".join(lines)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_hard_words(path: Path) -> None:
    """No line has a word of the list, also where a line break is inside."""
    text = prose(path)
    found = [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}" for match in PATTERN.finditer(text)
    ]
    assert not found, f"{path}: {found}; HARD in {Path(__file__).name} has what to write instead"


def test_the_list_finds_its_words() -> None:
    """Each kind of word is found, and ordinary sentences are left alone."""
    for text in (
        "how to mend it",
        "it is told once",
        "counters began\n    # anew",
        "that one's name",
        "It stands in",
    ):
        assert PATTERN.search(text), text
    assert not PATTERN.search("Argus stands in for another exporter; recommended; the toldo")
