"""Deliberate bugs in the kernels, and whether the tests of this folder notice them.

Run it as ``python tests/cuda/mutations.py``, with numbers to try only those. Each bug is put into a
copy of cuda/kernels/; a line says which test failed, and the exit status is 1 if none did.
"""

import io
import shutil
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from spikeport.cuda import signature, source

HERE = Path(__file__).parent
SCAN, PACKED = "test_scan.py", "test_packed.py"
DIFFERENCE, ARITHMETIC = "test_difference.py", "test_arithmetic.py"
OPTIONS = ("-x", "-q", "--assert=plain", "-p", "no:cacheprovider", f"--rootdir={HERE.parents[1]}")
OPTIONS += ("-c", str(HERE.parents[1] / "pyproject.toml"))

# file, what is replaced (once), by what, the tests that should notice
MUTATIONS = (
    ("neuron.cuh", "v >= s->threshold ? 1.0f : v <", "v > s->threshold ? 1.0f : v <", SCAN),
    ("neuron.cuh", "v >= s->threshold ? 1.0f : 0.0f", "v > s->threshold ? 1.0f : 0.0f", SCAN),
    ("neuron.cuh", "v < 0 ? -1.0f", "v <= 0 ? -1.0f", SCAN),
    ("neuron.cuh", "n = fmaxf(n, -s->total);", "", SCAN),
    ("neuron.cuh", "rounded_up(s->lowest", "rounded_down(s->lowest", SCAN),
    ("neuron.cuh", "s->highest * time + (state_t)1e-3", "s->highest * time", SCAN),
    ("neuron.cuh", "s->lowest * time - (state_t)1e-3", "s->lowest * time", SCAN),
    ("neuron.cuh", "s->total += n;", "", SCAN),
    ("neuron.cuh", "-rules.down), rules.up)", "-rules.down), 1e9f)", SCAN),
    ("neuron.cuh", "s->v * rules.leak", "s->v", SCAN),
    ("neuron.cuh", "rules.hard_reset && n != 0.0f", "rules.hard_reset", SCAN),
    ("neuron.cuh", "hard_reset ? truncf(u) : floorf(u)", "floorf(u)", SCAN),
    ("neuron.cuh", "v - n * (state_t)s->threshold", "fmaf(-n, s->threshold, v)", SCAN),
    ("neuron.cuh", "to_whole(left) + to_whole((state_t)current)", "left + current", SCAN),
    ("neuron.cuh", "v > most - 1 ? most - 1 : v", "v", SCAN),
    ("neuron.cuh", "v < -most ? -most :", "", SCAN),
    ("neuron.cuh", "over % by < 0 ? n - 1 : n", "over % by < 0 ? n : n", SCAN),
    ("neuron.cuh", "!hard_reset && over % by", "over % by", SCAN),
    ("scan.cu", "return neuron->value", "return neuron->threshold", SCAN),
    ("quotient.cuh", "return fmaf(fmaf(-q, y, x), inverse, q)", "return x * inverse", ARITHMETIC),
    ("packing.cuh", "lane % lanes * SP_VECTOR", "(lanes - 1 - lane % lanes) * SP_VECTOR", PACKED),
    ("packing.cuh", "(u32)n[i] >> p & 1u", "(u32)n[i] >> (SP_PLANES - 1 - p) & 1u", PACKED),
    ("packing.cuh", "negative && p == planes - 1", "0", PACKED),
    ("packing.cuh", "(neurons + 31) >> 5", "neurons >> 5", PACKED),
    ("packing.cuh", "lane % (WARP / SP_VECTOR) == 0", "lane == 0", PACKED),
    ("packing.cuh", "gather_word(active ? bits : 0, lane)", "gather_word(bits, lane)", PACKED),
    ("scan.cu", "time + t0 + k + 1", "time + t0 + k", SCAN),
    ("scan.cu", "active = group < groups;", "active = group < groups - 1;", SCAN),
    ("scan.cu", "t0 + k >= T) break", "t0 + k >= T - 1) break", SCAN),
    ("scan.cu", "if (active) fired", "fired", SCAN),
    (
        "scan.cu",
        "rounded_to(element(x, i) + element(residual, i), (const in_t *)0)",
        "element(x, i) + element(residual, i)",
        SCAN,
    ),
    ("scan.cu", "n[i] * value_of(neurons + i)", "n[i]", SCAN),
    ("scan.cu", "load(current + (t0 + k) * N, group)", "load(current + t0 * N, group)", SCAN),
    ("scan.cu", "base += item_stride()", "base += groups", SCAN),
    ("vectors.cuh", "8 * (byte % 4)", "8 * ((byte + 2) % 4)", SCAN),
    ("vectors.cuh", "16 * (i % 2)", "16 * (1 - i % 2)", SCAN),
    ("values.cuh", " + (bits >> 16 & 1u)", "", ARITHMETIC),
    ("counting.cuh", "same = same && place.channel == channel;", "", SCAN),
    ("counting.cuh", "ALL_LANES, channel, 0)", "ALL_LANES, channel, threadIdx.x % WARP)", SCAN),
    ("channels.cuh", "++place.channel == shape.channels", "++place.channel > shape.channels", SCAN),
    ("unpack.cu", "(float)n[i] * value_of[i]", "(float)n[i] * value_of[0]", PACKED),
    ("avgpool.cu", "min(from + kernel, size + padding)", "min(from + kernel, size)", PACKED),
    ("linear.cu", "if (w < warp) before", "if (w <= warp) before", PACKED),
    ("linear.cu", "__syncthreads();  // the next", "// the next", PACKED),
    ("running_mean.cu", "(float)(time + t + 1)", "(float)(time + t)", DIFFERENCE),
    ("emit_difference.cu", "before[i] = total;", "", DIFFERENCE),
)


class FirstFailure:
    """A plugin of pytest that remembers which test failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.name is None:
            self.name = report.nodeid.partition("::")[2]


def caught_by(file: str, old: str, new: str, tests: str) -> str | None:
    """The test that fails with a bug in the kernels, or None."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(source.KERNELS, Path(folder) / "kernels")
        text = (copy / file).read_text("utf-8")
        if old not in text:
            raise ValueError(f"{file} has no '{old}'")
        (copy / file).write_text(text.replace(old, new, 1), "utf-8")
        own, source.KERNELS = source.KERNELS, copy
        try:
            return first_failure(tests)
        finally:
            source.KERNELS = own


def first_failure(tests: str) -> str | None:
    """The first test of a file that fails, or None."""
    for known in (source.text_of, signature.signature_of):
        known.cache_clear()
    plugin, heard = FirstFailure(), io.StringIO()
    with redirect_stdout(heard), redirect_stderr(heard):
        status = pytest.main([*OPTIONS, str(HERE / tests)], plugins=[plugin])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(heard.getvalue())
    return plugin.name


def main(wanted: list[int]) -> int:
    """Try the mutations with these numbers; returns how many were not noticed."""
    settings.register_profile(
        "mutations", phases=[Phase.generate], report_multiple_bugs=False
    )  # the first one will do
    settings.load_profile("mutations")
    missed = 0
    for number in wanted:
        file, old, new, tests = MUTATIONS[number]
        name = caught_by(file, old, new, tests)
        missed += name is None
        found = name or "NOT NOTICED"
        print(f"{number:3} {file}: {old} -> {new or 'nothing'}: {found}", flush=True)
    print(f"{len(wanted) - missed} of {len(wanted)} noticed")
    return missed


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]] or list(range(len(MUTATIONS)))
    sys.exit(bool(main(numbers)))
