"""Deliberate bugs in rows, counting, roles, saving and planning, and whether the tests notice them.

Run it as ``python tests/laws/mutations.py``, with numbers to try only those. Each bug is put into a
copy of the sources; a line says which test failed, and the exit status is 1 if none did.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "docs", "build", "*.egg-info", "__pycache__", "weights")
ROWS = "convert/graph/operations/rows"
OPERATIONS = "convert/graph/operations"
LAWS = "tests/laws/test_rows.py"
RANDOM = "tests/laws/test_random_networks.py"
ALIASES = "tests/convert/test_aliases.py"
ARCHITECTURES = "tests/laws/test_architectures.py"
ENCODINGS = "tests/convert/test_input_encoding.py"
CLAIMS = "tests/laws/test_row_claims.py"
GEOMETRIES = "tests/convert/test_engine_geometries.py"


class Mutation(NamedTuple):
    """A bug.

    Attributes:
        file: of the sources.
        old, new: what is replaced (once), by what.
        tests: those that should notice, as pytest takes them.
        names: which of them, as pytest's ``-k`` takes it; all of them are in the default run.
    """

    file: str
    old: str
    new: str
    tests: str
    names: str = ""


MUTATIONS = (
    # a forgotten alias, a wrong argument, a wrong spelling
    Mutation(f"{ROWS}/linear.py", '("subtract",)', "()", ALIASES),
    Mutation(f"{ROWS}/moving.py", '("concat", "concatenate")', '("concat",)', ALIASES),
    Mutation(f"{ROWS}/activations.py", '"sigmoid", "expit"', '"sigmoid"', ALIASES),
    Mutation(f"{OPERATIONS}/spelling.py", ", len(bare)", "", ALIASES),
    Mutation(
        f"{ROWS}/activations.py",
        '("input", "min", "max")',
        '("input", "max", "min")',
        LAWS,
        "clamp",
    ),
    Mutation(f"{ROWS}/linear.py", 'method_arguments=("input", "condition", "other"),', "", ALIASES),
    # what it does in time
    Mutation(
        f"{ROWS}/activations.py",
        '"softmax",\n        "difference"',
        '"softmax",\n        "linear"',
        LAWS,
        "softmax",
    ),
    Mutation(f"{ROWS}/products.py", 'linear_in=("input",),', "", LAWS, "div"),
    Mutation(
        "convert/graph/roles.py",
        "len(changing) == 1 and",
        "len(changing) >= 1 and",
        LAWS,
        "mul or matmul",
    ),
    Mutation(f"{ROWS}/linear.py", "acts=_keeps_values,", "", ALIASES),
    Mutation("convert/graph/roles.py", 'row.in_time == "shape"', "False", LAWS, "like or new"),
    # what becomes of spikes
    Mutation(
        f"{OPERATIONS}/spikes.py",
        "return not any(_is_constant",
        "return any(_is_constant",
        LAWS,
        "add or sub",
    ),
    Mutation(
        f"{OPERATIONS}/spikes.py", 'startswith("nearest")', 'startswith("")', LAWS, "interpolate"
    ),
    Mutation(f"{OPERATIONS}/spikes.py", "total = total + each", "total = total", LAWS, "add"),
    # counting
    Mutation(
        f"{OPERATIONS}/windows.py",
        "**sizes, ceil_mode=ceil_mode, divisor_override=1",
        "**sizes, ceil_mode=ceil_mode",
        LAWS,
        "avg_pool",
    ),
    Mutation(
        f"{OPERATIONS}/windows.py", "return count.sum(dims", "return count.mean(dims", LAWS, "mean"
    ),
    Mutation(
        f"{OPERATIONS}/windows.py", "pooled = pooled * sizes", "pooled = pooled", LAWS, "adaptive"
    ),
    Mutation(
        f"{OPERATIONS}/macs.py",
        "layer.out_channels // layer.groups",
        "layer.out_channels",
        LAWS,
        "conv",
    ),
    Mutation(
        f"{OPERATIONS}/macs.py",
        "layer.stride, padding, layer.dilation",
        "layer.stride, 0, layer.dilation",
        LAWS,
        "conv",
    ),
    Mutation(
        f"{OPERATIONS}/macs.py",
        "scores // query.shape[-1] * value.shape[-1]",
        "0",
        LAWS,
        "attention",
    ),
    Mutation(f"{OPERATIONS}/macs.py", "steps * sum(", "1 * sum(", LAWS, "lstm or gru"),
    Mutation(f"{ROWS}/products.py", "macs=of_einsum,", "", LAWS, "einsum"),
    Mutation(
        "report/operations/synapses.py",
        'node.meta["role"] == "static"',
        "False",
        LAWS,
        "conv or linear",
    ),
    Mutation("report/operations/synapses.py", "self.counts[name] + count if", "count if", RANDOM),
    Mutation("convert/graph/nodes.py", "name = _unused(name, used)", "pass", RANDOM),
    Mutation(
        "report/operations/spike_counter.py",
        "images * getattr(synapses",
        "getattr(synapses",
        RANDOM,
    ),
    # layers, files, copies
    Mutation(
        f"{ROWS}/pooling.py",
        '_POOL = ("kernel_size", "stride", ',
        '_POOL = ("kernel_size", ',
        LAWS,
        "saved",
    ),
    Mutation(
        f"{ROWS}/weighted.py",
        '"dilation",\n    "groups",\n    "bias",\n    "padding_mode",\n)\n_TRANSPOSED',
        '"groups",\n    "bias",\n    "padding_mode",\n)\n_TRANSPOSED',
        LAWS,
        "saved",
    ),
    Mutation(
        "convert/saving/node_arguments.py",
        '"slice": lambda parts: slice(*parts)',
        '"slice": tuple',
        LAWS,
        "getitem",
    ),
    Mutation(
        "convert/graph/portable.py", "if isinstance(value, slice):", "if False:", LAWS, "getitem"
    ),
    Mutation(
        "convert/simulation/encoded_network.py",
        "graph = copy.deepcopy(network.graph)",
        "graph = network.graph",
        ENCODINGS,
    ),
    # lifting, neurons, planning
    Mutation("convert/tracing/lift_products.py", "constant[0] != constant[1]", "False", ALIASES),
    Mutation(
        f"{OPERATIONS}/lifted.py",
        "(weight.shape[1] * groups, weight.shape[0])",
        "(weight.shape[1], weight.shape[0])",
        LAWS,
        "conv",
    ),
    Mutation(
        "convert/replace.py",
        "known[0].spikes.carries(known[1])",
        "True",
        LAWS,
        "interpolate or pad",
    ),
    Mutation(
        f"{OPERATIONS}/channels.py",
        "{first: other, other: first}.get(axis, axis)",
        "axis",
        CLAIMS,
        "channels",
    ),
    Mutation(
        "convert/simulation/native/plan.py",
        "first += part.meta",
        "first += 0 * part.meta",
        ARCHITECTURES,
        "squeezenet or densenet",
    ),
    Mutation(
        f"{OPERATIONS}/windows.py",
        "kernel if stride == kernel and fits",
        "kernel if fits",
        GEOMETRIES,
    ),
    Mutation("convert/simulation/run.py", "if emits(node):", "if False:", LAWS, "max_pool"),
)


def first_failure(mutation: Mutation) -> str | None:
    """The first test that fails with a bug, or None."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "spikeport")
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        path = copy / mutation.file
        text = path.read_text("utf-8")
        if mutation.old not in text:
            raise ValueError(f"{mutation.file} has no '{mutation.old}'")
        path.write_text(text.replace(mutation.old, mutation.new, 1), "utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, mutation.tests, "-k", mutation.names],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^(?:FAILED|ERROR) \S+?::(\S+)|^(ERROR) ", done.stdout, re.MULTILINE)
        if done.returncode == 0:
            return None
        return found[1] or found[2] if found else f"exit status {done.returncode}"


def main(wanted: list[int]) -> int:
    """Try the mutations with these numbers; returns how many were not noticed."""
    missed = 0
    for number in wanted:
        mutation = MUTATIONS[number]
        name = first_failure(mutation)
        missed += name is None
        old, new = (" ".join(part.split()) for part in (mutation.old, mutation.new))
        print(f"{number:3} {mutation.file}: {old} -> {new or 'nothing'}: {name or 'NOT NOTICED'}")
        sys.stdout.flush()
    print(f"{len(wanted) - missed} of {len(wanted)} noticed")
    return missed


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]] or list(range(len(MUTATIONS)))
    sys.exit(bool(main(numbers)))
