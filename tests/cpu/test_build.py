"""Building and loading, with and without a compiler, and under the sanitizers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spikeport.cpu import compiler, loader

TESTS = Path(__file__).parent


def test_without_engine_the_reason_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(loader, "__file__", str(tmp_path / "loader.py"))
    assert "install a C++17 compiler" in loader.why_unavailable()
    with pytest.raises(loader.EngineError, match="not built"):
        loader.library()
    (tmp_path / compiler.NAME).write_text("no library")
    assert "does not load" in loader.why_unavailable()
    assert "\n" not in loader.why_unavailable()


def test_without_engine_and_compiler_building_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(compiler.BuildError, match="no C"):
        compiler.build(tmp_path / "engine.so")
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    with pytest.raises(compiler.BuildError, match="does not run"):
        compiler.build(tmp_path / "engine.so")


def test_hot_files_use_nothing_of_the_library_shared_with_others():
    # A template instance compiled for AVX-512 could be the one that every file gets.
    for file in compiler.SOURCE.glob("kernels_*.cpp"):
        found = compiler.compiler()
        flags = [*compiler.FLAGS, *compiler.INSTRUCTIONS.get(file.stem, ())]
        text = subprocess.run(
            [*found, *flags, "-S", "-O1", str(file), "-o", "-"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        weak = [line.split()[1] for line in text.splitlines() if line.strip().startswith(".weak")]
        assert [name for name in weak if "spikeport_" not in name] == [], file.name


def library_of_compiler(name: str) -> str:
    command = [compiler.compiler()[0], f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["address,undefined"])
def test_random_layers_under_sanitizers(kind, tmp_path):
    """The tests of this folder again, in a process with a checking build of the engine."""
    package = tmp_path / "spikeport"
    package.mkdir()
    root = TESTS.parents[1]
    for part in (*root.glob("*/"), root / "__init__.py"):
        if part.name not in ("cpu", "tests") and not part.name.startswith("."):
            (package / part.name).symlink_to(part)
    shutil.copytree(root / "cpu", package / "cpu", ignore=shutil.ignore_patterns("*.so"))
    flags = (f"-fsanitize={kind}", "-fno-sanitize-recover=all", "-g", "-O1")
    compiler.build(package / "cpu" / compiler.NAME, flags)
    # the second because torch throws before the sanitizer has seen the C++ library
    runtimes = [library_of_compiler("libasan.so"), library_of_compiler("libstdc++.so")]
    environment = os.environ | {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(tmp_path),
    }
    names = ("layer", "maxpool", "random_layers", "integer_layers", "sums")
    tests = [str(TESTS / f"test_{name}.py") for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *tests],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
