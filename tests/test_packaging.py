"""What is installed equals what is in the tree, and our `cuda/` leaves NVIDIA's `cuda` alone."""

import ast
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import spikeport

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
NOT_PACKAGED = {"tests", "docs", "build", "dist"}
EXPERIMENTS = Path("scripts", "experiments")  # behind figures of the documentation


def tree() -> set[str]:
    """Dotted names of the root and of every folder below it that holds Python files for users."""
    tops = (p for p in ROOT.iterdir() if p.is_dir() and p.name not in NOT_PACKAGED)
    files = (f for top in tops if not top.name.startswith(".") for f in top.rglob("*.py"))
    folders = {f.parent.relative_to(ROOT) for f in files} - {EXPERIMENTS}
    return {"spikeport"} | {".".join(("spikeport", *folder.parts)) for folder in folders}


def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def python(*args: str, cwd: Path, path: str = "", **more: str) -> str:
    """Run a fresh interpreter, with the root on its path only if `cwd` or `path` puts it there."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    env |= more
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    if path:
        env["PYTHONPATH"] = path
    done = subprocess.run(
        [sys.executable, *args], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def test_packages_listed_are_those_in_the_tree():
    listed = settings()["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == tree()


def test_every_package_has_an_init_file():
    # One without it would be a namespace package, which other distributions can add to.
    folders = [ROOT.joinpath(*name.split(".")[1:]) for name in tree()]
    assert [f for f in folders if not (f / "__init__.py").is_file()] == []


@pytest.mark.parametrize("name", spikeport.__all__)
def test_public_name_resolves(name):
    assert getattr(spikeport, name) is not None
    assert name in dir(spikeport)


def test_type_checkers_are_told_the_same_public_names():
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    told = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    told = {a.asname: n.module for n in told for a in n.names if n.module.startswith("spikeport.")}
    assert told == spikeport._HOMES


def test_a_neuron_model_needs_no_line_to_be_public():
    assert spikeport.SpiCalib is spikeport.convert.neurons.MODELS["SpiCalib"]


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        spikeport.no_such_name  # noqa: B018


def test_import_is_light(tmp_path):
    loaded = python("-c", "import sys, spikeport; print('torch' in sys.modules)", cwd=tmp_path)
    assert loaded == "False"


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_installed_package_is_this_checkout(where, tmp_path):
    code = "import spikeport.cuda.available as m; print(m.__file__)"
    found = python("-c", code, cwd=ROOT if where == "root" else tmp_path)
    assert Path(found).resolve() == ROOT / "cuda" / "available.py"


def test_modules_are_imported_under_one_name():
    # Two exceptions: pytest imports the root file under the name of the checkout's folder, and
    # with the root on sys.path (`python -m pytest`) torch finds ours as `cuda`.
    ours = {ROOT / folder for folder in os.listdir(ROOT) if folder not in NOT_PACKAGED}
    wrong = []
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "/")
        in_package = any(folder in file.parents for folder in ours if folder.name[0] != ".")
        if in_package and name != "cuda" and not name.startswith("spikeport."):
            wrong.append(name)
    assert wrong == []


def test_root_on_the_path_keeps_the_cuda_namespace(tmp_path):
    # A stand-in for NVIDIA's packages: a folder `cuda` without __init__.py, behind ours.
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "bindings.py").write_text("NAME = 'theirs'\n")
    code = "import cuda, cuda.bindings as b, spikeport.cuda as s; print(cuda.__file__, b.NAME, s)"
    found = python("-c", code, cwd=ROOT, path=str(tmp_path)).split()
    assert Path(found[0]) == ROOT / "cuda" / "__init__.py"
    assert found[1] == "theirs"


@pytest.mark.parametrize(
    ("distribution", "module"),
    [
        ("cuda-bindings", "cuda.bindings"),
        ("cuda-pathfinder", "cuda.pathfinder"),
        ("cupy-cuda12x", "cupy"),
        ("cupy-cuda13x", "cupy"),
    ],
)
def test_root_on_the_path_keeps_nvidia_importable(distribution, module):
    if not installed(distribution):
        pytest.skip(f"{distribution} is not installed")
    python("-c", f"import {module}, spikeport.cuda", cwd=ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy, because setuptools leaves build/ beside the sources."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("source")
    engine = (file.relative_to(ROOT) for file in (ROOT / "cpu" / "src").iterdir())
    for source in (*map(Path, ("pyproject.toml", "setup.py", "LICENSE")), *engine, *sources()):
        target = copy / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / source).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    compiler = out / "compiler"  # the engine itself was compiled when this checkout was installed
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo > "$2"\n')
    compiler.chmod(0o755)
    python(
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-index", "--wheel-dir", str(out), str(copy)),
        cwd=out,
        CXX=str(compiler),
    )
    (built,) = out.glob("*.whl")
    return built


def sources() -> set[Path]:
    """Files a wheel must hold, relative to the root: modules, and data matching package-data."""
    data = settings()["package-data"]
    found = set()
    for name in tree():
        folder = ROOT.joinpath(*name.split(".")[1:])
        for pattern in ("*.py", *data.get(name, ())):
            found |= {file.relative_to(ROOT) for file in folder.glob(pattern)}
    return found - {Path("setup.py")}  # it lies in the folder of the package `spikeport`


def test_wheel_holds_the_sources_and_nothing_else(wheel):
    names = {Path(n) for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    engine = Path("spikeport/cpu/engine.so")  # there if a compiler is
    assert names - {engine} == {"spikeport" / source for source in sources()}


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_wheel_imports(wheel, where, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import spikeport.cuda.available as m; print(m.__file__, m.why_unavailable() or 'fine')"
    cwd = ROOT if where == "root" else tmp_path
    found = python("-c", code, cwd=cwd, path=str(tmp_path / "site"))
    assert found.startswith(str(tmp_path / "site" / "spikeport"))


def test_command_is_installed():
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["spikeport"]
    module, function = entry.split(":")
    assert callable(getattr(import_module(module), function))
