"""Which texts a program can write, by the string literals in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

HOLE = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[sdrfgxi]|\{[^{}]*\}")
WORD = re.compile(r"[a-z]{3}", re.IGNORECASE)
JOINTS = {": ", "; "}  # of literals that only put texts together
PROSE = re.compile(r"[a-z]+[,.:;]?")
Pieces = tuple[str, ...]  # the fixed parts of a literal; between each two is a hole for a value


class Messages:
    """The texts that can be written. A literal with holes can be written with any values in them.

    A value is a number, a name or something else that is no word of English; or `…`; or again a text that can
    be written. `others`: literals that come from other programs, with `{}` for a value.
    """

    def __init__(self, files: Iterable[Path], others: Iterable[str] = ()) -> None:
        found = {pieces for file in files for pieces in _literals(ast.parse(file.read_text()))}
        found |= {tuple(HOLE.split(text)) for text in others}
        self._literals = [pieces for pieces in found if _says_something(pieces)]
        self._known: dict[tuple[str, bool], bool] = {}

    def can_write(self, text: str, *, more: bool = False) -> bool:
        """Whether the program can write this text or, with `more`, a text with this beginning."""
        if (text, more) not in self._known:
            self._known[text, more] = False  # during the search, so that a text is not its own value
            self._known[text, more] = any(self._fits(text, pieces, more) for pieces in self._literals)
        return self._known[text, more]

    def _fits(self, text: str, pieces: Sequence[str], more: bool) -> bool:
        first, *rest = pieces
        if more and text and first.startswith(text):
            return True
        if not text.startswith(first):
            return False
        text = text[len(first) :]
        if not rest:
            return not text
        if more and (not text or self._is_value(text, more=True)):
            return True
        return any(
            self._fits(text[end:], rest, more) and self._is_value(text[:end])
            for end in range(1, len(text) + 1)
        )

    def _is_value(self, text: str, *, more: bool = False) -> bool:
        is_name = " " not in text and not PROSE.fullmatch(text)
        return is_name or self.can_write(text, more=more)


def _says_something(pieces: Pieces) -> bool:
    """Whether the fixed parts of a literal have a word; otherwise the literal would match any text."""
    fixed = set(filter(None, pieces))
    return bool(fixed) and (any(map(WORD.search, fixed)) or fixed <= JOINTS)


def _literals(tree: ast.Module) -> Iterator[Pieces]:
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = (str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
            yield tuple("".join(fixed).split("\0"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield tuple(HOLE.split(node.value))
