"""Random networks from a seed, as text that can be printed, run and cut down.

``python tests/laws/random_networks.py 17`` prints the network of seed 17, runs every verb on it,
and prints the shortest network found that fails in the same way.
"""

import math
import sys
import zlib
from collections import namedtuple
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

import torch
from random_draw import Draw, Shape
from random_lines import LINES
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

BATCH = 3
MOST = 300  # numbers in one value of one image
LARGEST = 30.0
Pair = namedtuple("Pair", ["first", "second"])

# kind of network -> shape of its input, without the batch, and weights of the kinds of lines
COMMON = {
    **{"layer": 6, "functional layer": 1, "pool": 3, "norm": 2, "rectifier": 5, "smooth": 2},
    **{"sum": 3, "product": 1, "parameter": 1, "move": 2, "size": 1, "shared": 1, "folded": 1},
}
KINDS: dict[str, tuple[list[Shape], dict[str, int]]] = {
    "maps": ([(3, 6, 6), (2, 7, 5), (4, 8, 8), (1, 6, 8)], COMMON | {"patches": 1, "tokens": 1}),
    "lines": ([(3, 12), (4, 9)], COMMON | {"tokens": 1}),
    "volumes": ([(2, 4, 4, 4), (1, 3, 5, 4)], COMMON),
    "tokens": ([(5, 4), (6, 6)], COMMON | {"layer": 2, "tokens": 8, "pool": 1}),
    "vectors": ([(6,), (9,)], COMMON | {"pool": 0, "folded": 0}),
}


@dataclass(frozen=True)
class Statement:
    """``variable = expression``."""

    variable: str
    expression: str


@dataclass(frozen=True)
class Program:
    """A network as text.

    Attributes:
        seed: of its weights and its input.
        shape: of the input, without the batch.
        modules: expressions of what ``__init__`` makes, by attribute.
        statements: of ``forward``, in order; the first variable is ``x``.
        result: expression that is returned.
    """

    seed: int
    shape: Shape
    modules: dict[str, str] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    result: str = "x"

    @cached_property
    def text(self) -> str:
        """The class ``Net``."""
        body = " ".join([*(s.expression for s in self.statements), self.result])
        used = {name: made for name, made in self.modules.items() if mentions(body, f"self.{name}")}
        return "\n".join(
            [
                f"# seed {self.seed}, input [B, {', '.join(map(str, self.shape))}]",
                "class Net(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                *(f"        self.{name} = {made}" for name, made in used.items()),
                "",
                *(("    def set(self, v, index, value):", "        v[:, index] = value"))
                * ("self.set(" in body),
                *(("        return v", "")) * ("self.set(" in body),
                "    def forward(self, x):",
                *(f"        {s.variable} = {s.expression}" for s in self.statements),
                f"        return {self.result}",
            ]
        )

    def network(self) -> nn.Module:
        """The network in eval mode, with weights that depend on the seed and their names only."""
        space: dict[str, Any] = {"torch": torch, "nn": nn, "F": F, "math": math, "Pair": Pair}
        exec(self.text, space)  # noqa: S102
        net = space["Net"]()
        with torch.no_grad():
            _randomize(net, self.seed)
        return net.eval().requires_grad_(True)

    def input(self, batch: int = BATCH) -> Tensor:
        """[B, ...]."""
        return torch.randn(batch, *self.shape, generator=torch.Generator().manual_seed(self.seed))


def mentions(text: str, name: str) -> bool:
    """Whether a dotted name stands in an expression, whole."""
    place = text.find(name)
    while place >= 0:
        after = text[place + len(name) : place + len(name) + 1]
        before = text[place - 1 : place] if place else " "
        if not (after.isalnum() or after == "_" or before.isalnum() or before in "_."):
            return True
        place = text.find(name, place + 1)
    return False


def _randomize(net: nn.Module, seed: int) -> None:
    for name, value in [*net.named_parameters(), *net.named_buffers()]:
        generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        if not value.is_floating_point():
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim >= 2:
            fan_in = max(value[0].numel(), 1)
            value.normal_(0, (2 / fan_in) ** 0.5 if ".weight" in name else 0.5, generator=generator)
        elif name.endswith("weight"):
            value.uniform_(0.3, 1.4, generator=generator)
        else:
            value.uniform_(-0.4, 0.5, generator=generator)


def random_program(seed: int) -> Program:
    """The network of a seed; it runs, and its values are neither constant nor huge."""
    random = Random(seed)
    shapes, weights = KINDS[random.choice([*KINDS, "maps", "maps"])]
    program = Program(seed, random.choice(shapes))
    values: dict[str, Any] = {"x": program.input()}
    wanted = random.randint(4, 11)
    for _ in range(6 * wanted):
        if len(program.statements) >= wanted:
            break
        variables = {name: tuple(v.shape[1:]) for name, v in values.items()}
        latest = list(values)[-1]
        source = latest if random.random() < 0.75 else random.choice(list(values))
        extended = _extended(program, random, source, variables, weights)
        found = extended and _values(extended)
        if found:
            program, values = extended, found
    found = _with_output(_with_rectifier(program, values), random)
    return found if _is_alive(found) else replace(found, result=found.statements[-1].variable)


def _is_alive(program: Program) -> bool:
    """Whether all outputs differ from image to image."""
    with torch.no_grad():
        outputs = pytree.tree_leaves(program.network()(program.input()))
    values = [value for value in outputs if isinstance(value, Tensor)]
    return all(float((value - value.mean(0)).abs().max()) > 1e-2 for value in values)


def _extended(
    program: Program,
    random: Random,
    source: str,
    variables: dict[str, Shape],
    weights: dict[str, int],
) -> Program | None:
    """The program with one line more, which may not work."""
    (kind,) = random.choices(list(weights), list(weights.values()))
    draw = Draw(random, variables, program.modules)
    expression = random.choice(LINES[kind])(draw, source, variables[source])
    return None if expression is None else _appended(program, draw.declared, expression)


def _appended(program: Program, declared: dict[str, str], expression: str) -> Program:
    used = {k: v for k, v in declared.items() if mentions(expression, f"self.{k}")}
    variable = f"v{len(program.statements)}"
    return replace(
        program,
        modules=program.modules | used,
        statements=(*program.statements, Statement(variable, expression)),
        result=variable,
    )


def _values(program: Program) -> dict[str, Any] | None:
    """All variables for a batch, or None where the last one is of no use."""
    everything = ["x", *(s.variable for s in program.statements)]
    watched = replace(program, result=f"[{', '.join(everything)}]")
    try:
        net = watched.network()
        with torch.no_grad():
            values = net(program.input())
            alone = net(program.input()[:1])
    except Exception:  # whatever torch says to a line that does not fit
        return None
    last = values[-1]
    if not isinstance(last, Tensor) or not last.is_floating_point():
        return None
    if not 2 <= last.ndim <= 5 or len(last) != BATCH or not 1 <= last[0].numel() <= MOST:
        return None
    if not all(bool(v.isfinite().all()) and float(v.abs().max()) < LARGEST for v in values):
        return None
    spread = float((last - last.mean(0)).abs().max())
    same = last[:1].shape == alone[-1].shape and torch.allclose(last[:1], alone[-1], atol=1e-4)
    if spread < 1e-2 or not same:
        return None
    return dict(zip(everything, values, strict=True))


def _with_rectifier(program: Program, values: dict[str, Any]) -> Program:
    """With a linear layer and a ReLU at the end, where there is no activation that can spike."""
    text = program.text.lower()
    if "relu" in text or "clamp" in text:
        return program
    last = list(values)[-1]
    width = values[last].shape[-1]
    made = {"m98": f"nn.Linear({width}, 5)", "m99": "nn.Linear(5, 4)"}
    return _appended(program, made, f"self.m99(F.relu(self.m98({last})))")


def _with_output(program: Program, random: Random) -> Program:
    """Class scores, a map, or several outputs."""
    values = _values(program)
    if values is None:
        return program
    names = list(values)
    last, others = names[-1], names[1:]
    some = random.choice(others)
    choice = random.random()
    if choice < 0.6:
        return _with_scores(program, values, random)
    if choice < 0.8:
        return program
    forms = (
        *(f"({last}, {some})", f"[{last}, {some}]", f"{{'out': {last}, 'aux': {some}}}"),
        *(f"Pair({last}, {some})", f"({last}, [{some}, {{'more': {last} + 1}}])"),
        *(f"{{'out': {last}, 'none': None}}", f"({last}, None)", f"{last}.flatten(1).mean(1)"),
        *(f"{last}.flatten(1)[:, :1]", f"({last}, x)", f"{last}.flatten(1).sum(1, keepdim=True)"),
    )
    return replace(program, result=random.choice(forms))


def _with_scores(program: Program, values: dict[str, Any], random: Random) -> Program:
    last = list(values)[-1]
    shape = tuple(values[last].shape[1:])
    flat, width = last, shape[0]
    if len(shape) > 1:
        dims = tuple(range(2, len(shape) + 1))
        pooled = [f"{last}.mean({dims})", f"{last}.flatten(2).mean(-1)", f"{last}.flatten(1)"]
        flat = random.choice(pooled)
        width = math.prod(shape) if flat.endswith("flatten(1)") else shape[0]
    made = {"m100": f"nn.Linear({width}, 5)"}
    return _appended(program, made, f"self.m100({flat})")


def main() -> None:
    """Print a network, what fails, and the shortest that fails likewise."""
    from cut_down import cut_down, failures

    program = random_program(int(sys.argv[1]))
    print(program.text)
    for failure in failures(program):
        print(failure.kind, failure.message, sep="\n")
        print("the shortest that was found:", cut_down(program, failure).text, sep="\n")


if __name__ == "__main__":
    from pathlib import Path

    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "cuda")]
    main()
