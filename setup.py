"""Builds the native CPU engine when the package is installed; the rest is in pyproject.toml."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

FOLDER = Path(__file__).parent / "cpu"


def _compiler() -> ModuleType:
    """cpu/compiler.py, which cannot be imported as part of a package that is not installed yet."""
    spec = importlib.util.spec_from_file_location("spikeport_compiler", FOLDER / "compiler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiler = _compiler()


class BuildEngine(build_ext):
    """A plain shared library: no Python headers, its own flags for each file."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        try:
            compiler.build(Path(self.get_ext_fullpath(ext.name)))
        except compiler.BuildError as error:
            # the torch backend does the work then; loader.py tells whoever asks for this one
            print(f"spikeport: built without the native CPU engine: {error}", file=sys.stderr)

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]

    def copy_extensions_to_source(self) -> None:
        if any(Path(path).exists() for path in super().get_outputs()):
            super().copy_extensions_to_source()


class Modules(build_py):
    """Without this file, which lies in the folder of the package `spikeport`."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if entry[:2] != ("spikeport", "setup")]


class AnyPython(bdist_wheel):
    """The engine is opened with ctypes, so one wheel serves every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "spikeport.cpu.engine",
            sources=[f"cpu/src/{file.name}" for file in sorted(compiler.SOURCE.glob("*.cpp"))],
            depends=[f"cpu/src/{file.name}" for file in sorted(compiler.SOURCE.glob("*.h"))],
        )
    ],
    cmdclass={"build_ext": BuildEngine, "build_py": Modules, "bdist_wheel": AnyPython},
)
