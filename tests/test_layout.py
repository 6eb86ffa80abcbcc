"""Imports point one way: each folder imports what its row allows, and so does each room in it.

A room is a folder in a folder. What lies in one folder, rooms and files, forms no circle of
imports, so it has floors: nothing imports what stands on it. Imports inside functions and under
TYPE_CHECKING count.
"""

import ast
import functools
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
# room: files and rooms beside it that it may import, lowest room of a folder first
ROOMS: dict[str, str] = {
    "convert/neurons": "errors",
    "convert/graph": "batches errors inputs neurons output_types",
    "convert/graph/operations": (
        "nodes rounding same_padding channel_affine group_norm recurrent set_item"
    ),
    "convert/graph/operations/rows": (
        "call channels einstein lifted macs operation spikes staircase windows"
    ),
    "convert/tracing": "errors graph output_types",
    "convert/simulation": "errors graph inputs neurons outputs",
    "convert/simulation/gpu": "emitted run",
    "convert/simulation/native": "emitted run",
    "convert/integers": "calibration_images errors graph inputs network neurons simulation",
    "convert/saving": "errors files graph inputs neurons network output_types simulation",
    "finetune/neuron": "",
    "finetune/gradient": "distributed neuron",
    "finetune/training": "distributed neuron gradient",
    "report/operations": "",
    "report/drawing": "number_format",
    "report/sweeping": "number_format writing drawing operations",
    "report/costing": "number_format writing operations sweeping",
    "report/inspecting": "writing drawing operations sweeping",
    "report/page": "number_format drawing operations sweeping costing inspecting",
    "scripts/peers": "",
    "scripts/bench": "peers",
    "scripts/gpu_check": "bench peers",
    "scripts/compare": "options",
    "scripts/coverage/networks": "",
    "scripts/coverage": "options",
    "scripts/experiments": "options saved_network sweep_command bench",
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


@functools.cache
def imports_of(file: Path) -> list[tuple[int, str]]:
    """The imports of a file."""
    return list(imports(ast.parse(file.read_text("utf-8")), package_of(file)))


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
        for line, name in imports_of(file):
            why = objection(folder, name)
            if why:
                wrong.append(f"{file.relative_to(ROOT)}:{line}: {why}")
    assert not wrong, "\n".join(wrong)


def test_tests_import_no_folder_by_its_bare_name():
    wrong = []
    for file in files("tests"):
        for line, name in imports_of(file):
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


def floor(parts: tuple[str, ...]) -> set[str]:
    """Names of the files and rooms that lie in a folder."""
    found = ROOT.joinpath(*parts).iterdir()
    rooms = {path.name for path in found if path.is_dir() and (path / "__init__.py").is_file()}
    return rooms | {path.stem for path in ROOT.joinpath(*parts).glob("*.py")}


@functools.cache
def neighbours(folder: str) -> dict[str, set[str]]:
    """What each file and room of a folder imports of the others in it; its door is "__init__"."""
    parts = tuple(folder.split("/"))
    names = floor(parts)
    found: dict[str, set[str]] = {name: set() for name in names}
    for file in files(folder):
        name = file.relative_to(ROOT.joinpath(*parts)).with_suffix("").parts[0]
        for _, imported in imports_of(file):
            top, *way = imported.split(".")
            if top == "spikeport" and tuple(way[: len(parts)]) == parts:
                rest = way[len(parts) :]
                found[name].add(rest[0] if rest and rest[0] in names else "__init__")
    return {name: others - {name} for name, others in found.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Files and rooms in a circle or on top of one: what cannot be taken away floor by floor."""
    left = dict(arrows)
    while free := [name for name, others in left.items() if not others & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


FOLDERS = [*TABLE, *ROOMS]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_circle_of_imports_in_a_folder(folder):
    assert circle(neighbours(folder)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_only_what_its_row_allows(room):
    folder, _, name = room.rpartition("/")
    beyond = neighbours(folder)[name] - set(ROOMS[room].split())
    assert not beyond, f"{room}/ may not import {', '.join(sorted(beyond))} of {folder}/"


def test_rooms_name_only_what_is_there_and_lower_rooms():
    order = list(ROOMS)
    for room, allowed in ROOMS.items():
        folder = room.rpartition("/")[0]
        for other in allowed.split():
            assert other in floor(tuple(folder.split("/")))
            beside = f"{folder}/{other}"
            assert beside not in order or order.index(beside) < order.index(room)


def test_every_room_has_a_row():
    found = {file.parent.relative_to(ROOT) for folder in TABLE for file in files(folder)}
    assert {str(folder) for folder in found if len(folder.parts) > 1} == set(ROOMS)


@pytest.mark.parametrize(
    ("arrows", "left"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}, ["a", "b", "c"]),
        ({"a": {"__init__"}, "__init__": {"a"}}, ["__init__", "a"]),
    ],
)
def test_the_search_for_circles_itself(arrows, left):
    assert circle(arrows) == left


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
