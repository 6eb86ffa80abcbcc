"""Each folder imports only what its row allows: its own layers first, then distributions."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400

# folder: (folders it may import, third-party packages it may import), lowest layer first.
# zoo and scripts alone know timm and torchvision.
TABLE: dict[str, tuple[str, str]] = {
    "cuda": ("", "torch cupy"),
    "cpu": ("", "torch numpy"),
    "convert": ("cuda cpu", "torch numpy safetensors tqdm"),
    "calibration": ("convert", "torch numpy tqdm"),
    "finetune": ("convert calibration", "torch numpy tqdm"),
    "report": ("convert", "torch numpy tqdm matplotlib jinja2"),
    "zoo": ("cuda cpu convert calibration finetune report", "*"),
    "scripts": ("cuda cpu convert calibration finetune report zoo", "*"),
}
NVIDIA = {"bindings", "core", "pathfinder"}  # the parts of `cuda` that are not ours


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def package_of(file: Path) -> list[str]:
    return ["spikeport", *file.relative_to(ROOT).parent.parts]


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, inside functions and TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            target = node.args[0]
            if (
                name in ("import_module", "__import__")
                and isinstance(target, ast.Constant)
                and isinstance(target.value, str)
            ):
                yield node.lineno, target.value


def objection(folder: str, name: str) -> str | None:
    """Why `folder` may not import `name`, or None if it may."""
    top, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    folders, parties = (set(column.split()) for column in TABLE[folder])
    if top == "spikeport":
        if second in TABLE:
            allowed = second == folder or second in folders
            return None if allowed else f"{folder}/ may not import spikeport.{second}"
        # Public names hide the folder they live in; only the top layer may use them.
        fine = second == "__version__" or folder == "scripts"
        return None if fine else f"{folder}/ must import {name} from the module that defines it"
    if bare(name):
        return f"{name} is found only with the root on sys.path: import spikeport.{top}"
    if top in sys.stdlib_module_names or "*" in parties or top in parties:
        return None
    return f"{folder}/ may not import {top}"


def bare(name: str) -> bool:
    """Whether `name` is one of our folders without `spikeport.` in front."""
    top, _, rest = name.partition(".")
    nvidia = top == "cuda" and rest.partition(".")[0] in NVIDIA
    return top in TABLE and not nvidia


@pytest.mark.parametrize("folder", TABLE)
def test_folder_imports_only_what_its_row_allows(folder):
    wrong = []
    for file in files(folder):
        for line, name in imports(ast.parse(file.read_text("utf-8")), package_of(file)):
            why = objection(folder, name)
            if why:
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {why}")
    assert not wrong, "\n".join(wrong)


def test_tests_import_no_folder_by_its_bare_name():
    wrong = []
    for file in files("tests"):
        for line, name in imports(ast.parse(file.read_text("utf-8")), package_of(file)):
            if bare(name):
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_rows_name_only_lower_layers():
    order = list(TABLE)
    for folder, (folders, _) in TABLE.items():
        assert all(order.index(other) < order.index(folder) for other in folders.split())


def test_every_folder_of_code_has_a_row():
    tops = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    with_code = {top for top in tops - {"tests", "docs", "build", "dist"} if files(top)}
    assert with_code <= set(TABLE)


@pytest.mark.parametrize(
    ("folder", "code", "allowed"),
    [
        ("convert", "from spikeport.cuda import available", True),
        ("convert", "from spikeport import cuda", True),
        ("convert", "from ..cuda.available import why_unavailable", True),
        ("convert", "from . import graph", True),
        ("convert", "from .. import zoo", False),
        ("convert", "from spikeport.calibration import recipes", False),
        ("convert", "from spikeport import to_snn", False),
        ("convert", "from spikeport import __version__", True),
        ("convert", "import timm.layers", False),
        ("convert", "def f():\n    import torchvision", False),
        ("convert", "importlib.import_module('timm')", False),
        ("report", "from spikeport.calibration import recipes", False),
        ("report", "import matplotlib.pyplot as plt", True),
        ("zoo", "import timm", True),
        ("zoo", "import spikeport.scripts.cli", False),
        ("scripts", "import spikeport as sp", True),
        ("scripts", "import cuda.available", False),
        ("scripts", "from cuda import bindings", True),
        ("scripts", "import zoo", False),
    ],
)
def test_the_check_itself(folder, code, allowed):
    found = list(imports(ast.parse(code), ["spikeport", folder]))
    assert found
    assert all(objection(folder, name) is None for _, name in found) == allowed


def test_files_are_short():
    code = [f for folder in (*TABLE, "tests") for f in (ROOT / folder).rglob("*")]
    code = [ROOT / "__init__.py", *(f for f in code if f.suffix in (".py", ".cu", ".cuh"))]
    lengths = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in code}
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
