"""What a line of a random network is made from: for a value of some shape, another expression.

Every function takes the generator's ``Draw`` and one variable's name and shape without the batch,
and returns an expression, or None where it has nothing for such a shape. It need not be right: the
generator runs the line and drops what does not work.
"""

from collections.abc import Callable
from random import Random

Shape = tuple[int, ...]


class Draw:
    """What a line may ask for.

    Args:
        random: the source of all choices.
        variables: shapes so far, by name, without the batch.
        modules: declared so far, by name.
    """

    def __init__(self, random: Random, variables: dict[str, Shape], modules: dict[str, str]):
        self.random, self.variables, self.modules = random, variables, modules
        self.declared: dict[str, str] = {}  # by this line

    def one(self, *choices):
        """One of them."""
        return self.random.choice(choices)

    def flag(self) -> bool:
        """True or False."""
        return self.random.random() < 0.5

    def declare(self, text: str, prefix: str = "m") -> str:
        """A module or parameter of the network; returns ``self.m7``."""
        taken = [int(name[1:]) for name in (*self.modules, *self.declared)]
        name = f"{prefix}{max(taken, default=-1) + 1}"
        self.declared[name] = text
        return f"self.{name}"

    def parameter(self, *shape: int) -> str:
        """A parameter, or a buffer, beside the layers."""
        if self.random.random() < 0.25:
            return self.declare(f"nn.Buffer(torch.empty{shape})", "b")
        return self.declare(f"nn.Parameter(torch.empty{shape})", "p")

    def other(self, shape: Shape, but: str = "") -> str | None:
        """Another variable of this shape."""
        found = [v for v, s in self.variables.items() if s == shape and v != but]
        return self.random.choice(found) if found else None

    def like_spatial(self, shape: Shape, but: str) -> str | None:
        """Another variable with as many pixels and any channels."""
        found = [
            v
            for v, s in self.variables.items()
            if len(s) == len(shape) and s[1:] == shape[1:] and v != but
        ]
        return self.random.choice(found) if found else None


Line = Callable[[Draw, str, Shape], "str | None"]


def divisor(d: Draw, n: int) -> int:
    """One of the divisors of n."""
    return d.one(*[k for k in range(1, n + 1) if n % k == 0])
