"""The README's Python example runs as printed."""

import re
from pathlib import Path

import pytest

import spikeport

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_example_runs_as_printed(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert "agreement" in capsys.readouterr().out
    assert (tmp_path / "curve.csv").exists()
    assert spikeport.load(tmp_path / "net.snn").neurons


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_it_names_exist(target):
    assert f"make {target}" in README
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    assert f"\n{target}:" in makefile
