"""The Python examples of the README and of docs/ run as printed, page by page."""

import re
from pathlib import Path

import pytest

import spikeport

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [
    page
    for page in (*sorted(ROOT.glob("docs/**/*.md")), README)
    if BLOCK.search(page.read_text(encoding="utf-8"))
]


def run(page: Path) -> None:
    """All blocks of a page in one namespace; errors show the page's own lines."""
    text, names = page.read_text(encoding="utf-8"), {"__name__": page.stem}
    for block in BLOCK.finditer(text):
        above = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(above + block[1], str(page), "exec"), names)


@pytest.mark.usefixtures("forget_operations")
@pytest.mark.parametrize("page", PAGES[:-1], ids=lambda page: page.stem)  # README: see below
def test_examples_run_as_printed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "transformers" in page.read_text(encoding="utf-8"):
        pytest.importorskip("transformers")
    run(page)


def test_readme_example_is_short_and_shows_what_it_makes(tmp_path, monkeypatch, capsys):
    (example,) = BLOCK.findall(README.read_text(encoding="utf-8"))
    assert len(example.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    run(README)
    assert "agreement" in capsys.readouterr().out
    assert (tmp_path / "curve.csv").exists()
    assert spikeport.load(tmp_path / "net.snn").neurons


@pytest.mark.parametrize("name", ["tutorial_convert", "tutorial_sweep"])
def test_tutorials_are_run_and_linked(name):
    assert name in [page.stem for page in PAGES]
    assert f"docs/{name}.md" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_the_readme_names_exist(target):
    assert f"make {target}" in README.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text()
    assert f"\n{target}:" in makefile
