"""Docstrings name the thing first: its first word is no pronoun, preposition or question."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_layout import ROOT, TABLE, files

POINTING = {
    *("What", "That", "Those", "This", "These", "It", "Its", "They", "Them", "Whatever", "Nothing"),
    *("How", "Where", "Which", "Who", "When", "If", "So", "As"),
    *("Of", "By", "For", "From", "With", "On", "To", "In", "At"),
}


def documented(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and docstring of everything that has one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def first_word(text: str) -> str:
    match = re.match(r"\W*(\w+)", text)
    return match[1] if match else ""


@pytest.mark.parametrize("folder", TABLE)
def test_docstrings_begin_with_what_they_describe(folder):
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for file in files(folder)
        for line, text in documented(ast.parse(file.read_text("utf-8")))
        if first_word(text) in POINTING
    ]
    assert not wrong, "\n".join(wrong)
