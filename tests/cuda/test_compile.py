"""Every kernel compiles for every architecture, within its registers, without local memory."""

import re
import sys
from dataclasses import astuple

import pytest

from spikeport.cuda.source import KERNELS, Build
from spikeport.scripts.experiments import kernel_table
from spikeport.scripts.experiments.kernel_table import ARCHITECTURES, BUDGET, MORE

needs_nvrtc = pytest.mark.skipif(
    kernel_table.why_unavailable() is not None, reason=str(kernel_table.why_unavailable())
)


def compile_everywhere(name, build, record_property):
    """What the kernel takes on each architecture; shown at the end of the tests."""
    usages = [kernel_table.compiled(build, architecture)[0] for architecture in ARCHITECTURES]
    record_property("kernel usage", (name, [astuple(usage) for usage in usages]))
    return usages


@needs_nvrtc
@pytest.mark.parametrize("name", BUDGET)
def test_within_budget(name, record_property):
    build, most = BUDGET[name]
    usages = compile_everywhere(name, build, record_property)
    assert [usage.spilled for usage in usages] == [0] * len(ARCHITECTURES)
    assert max(usage.registers for usage in usages) <= most


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_other_forms_do_not_spill(name, record_property):
    usages = compile_everywhere(name, MORE[name], record_property)
    assert [usage.spilled for usage in usages] == [0] * len(ARCHITECTURES)


def test_every_kernel_has_a_budget():
    files = {file.stem for file in KERNELS.glob("*.cu")}
    assert {build.kernel for build, _ in BUDGET.values()} == files


@needs_nvrtc
@pytest.mark.parametrize("name", ["scan if float packed", "scan signed half packed"])
def test_reads_128_bits_and_fuses_nothing(name):
    ptx = kernel_table.ptx(BUDGET[name][0])
    assert re.search(r"ld\.global(\.nc)?\.v4\.[bfu]32", ptx)
    assert "fma." not in ptx


@needs_nvrtc
def test_an_empty_log_is_written_to_memory_of_its_own():
    """``b" "`` is one object of the whole process: torch.load failed after NVRTC wrote to it."""
    kernel_table.ptx(BUDGET["unpack"][0])
    assert bytes([32])[0] == 32


@needs_nvrtc
def test_values_are_written_128_bits_at_once():
    ptx = kernel_table.ptx(BUDGET["scan general half values"][0])
    assert re.search(r"st\.global\.v4\.[bfu]32", ptx)


class Spilling(Build):
    """More values at once than its block size leaves registers for."""

    text = (
        'extern "C" __global__ void __launch_bounds__(1024, 2) scan(const float *x, float *y) {'
        "float a[64];\n#pragma unroll\nfor (int i = 0; i < 64; ++i) a[i] = x[i];\n"
        "#pragma unroll\nfor (int i = 0; i < 64; ++i) y[63 - i] = a[i] * a[(i * 7 + 1) % 64]; }"
    )


@needs_nvrtc
def test_a_spill_would_be_seen():
    usage, cubin = kernel_table.compiled(Spilling("scan"), 90)
    assert usage.spilled > 0
    assert cubin[:4] == b"\x7fELF"


@needs_nvrtc
def test_what_does_not_compile_says_why():
    with pytest.raises(kernel_table.CompilerError, match="SP_VECTOR"):
        kernel_table.compiled(Build.of("unpack", SP_IN="float", SP_OUT="float"), 90)


def test_missing_nvrtc_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert "pip install cuda-bindings" in kernel_table.why_unavailable()
