"""`why_unavailable` against stand-ins for CuPy: absent, broken, without a device, with one."""

import sys
from types import SimpleNamespace

import pytest

from spikeport.cuda.available import why_unavailable


class CUDARuntimeError(RuntimeError):
    """Stands in for the error of CuPy that has this name."""


def fake_cupy(count):
    runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


def without_driver():
    raise CUDARuntimeError("cudaErrorInsufficientDriver: driver is insufficient")


@pytest.fixture
def finder(monkeypatch):
    """Makes `import cupy` raise the given error."""

    def install(error):
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name == "cupy":
                    raise error

        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])

    return install


def test_not_installed_says_what_to_install(finder):
    finder(ModuleNotFoundError("No module named 'cupy'", name="cupy"))
    assert "pip install 'spikeport[cuda]'" in why_unavailable()


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libnvrtc.so is missing\nmany more lines"),
        ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock"),
    ],
)
def test_broken_installation_gives_its_first_line(finder, error):
    finder(error)
    reason = why_unavailable()
    assert str(error).splitlines()[0] in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("count", "part"), [(without_driver, "InsufficientDriver"), (lambda: 0, "CUDA_VISIBLE_DEVICES")]
)
def test_no_device_says_what_to_check(monkeypatch, count, part):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
    assert part in why_unavailable()


def test_a_device_is_no_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(lambda: 1))
    assert why_unavailable() is None


@pytest.mark.gpu
def test_torch_sees_the_device_too():
    import torch

    assert torch.cuda.is_available()
