"""Rules of what an operation does to spikes, and of how they are counted through it.

A rule is asked about calls all of whose inputs that change in time consist of spikes. The count
at a position is the number of spikes that arrive there; it is linear in the counts before it, so
that the counter can differentiate it.
"""

from collections.abc import Mapping
from numbers import Number
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from spikeport.convert.graph.operations.call import Call


class SpikeRule:
    """The fate of spikes in an operation.

    Attributes:
        text: for tables, after "spikes are …".
        moves: values go to other places and none is changed.
        homogeneous: F(c·x) = c·F(x) for c > 0: spikes in, spikes out, without a division by t (LI
            pooling: Li & Zeng 2022, "Efficient and Accurate Conversion of Spiking Neural Network
            with Burst Spikes").
        selects: it emits spikes of its own, which are counted as those of a layer.
        scales: it does nothing but give spikes another value.
    """

    text = "analog values afterwards"
    moves = False
    homogeneous = False
    selects = False
    scales = False

    def carries(self, call: Call) -> bool:
        """Whether what comes out consists of spikes."""
        return False

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        """Spikes at each position of what comes out, [1, C, ...], float64.

        Args:
            call: with the analog values of its inputs and of itself.
            counts: of the nodes that consist of spikes.
        """
        raise AssertionError(f"{call.node} carries no spikes")

    def quantum(self, call: Call, quanta: Mapping[fx.Node, Any]) -> Any:
        """Value of one spike at each position; None where there is no common one."""
        return None

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        """Value of 1 at each position of what comes out, where spikes are counts.

        Args:
            call: with the analog values of its inputs.
            units: value of one spike, of the nodes that consist of spikes, shaped like their
                values; all of the call's are among them.

        Returns:
            Shaped like the call's value; None where spikes of several values are mixed.
        """
        return None


class _Moved(SpikeRule):
    """Copied to other places; constants that are put beside them are no spikes."""

    text = "moved"
    moves = True

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        return call.evaluated(
            lambda node: counts[node] if node in counts else _without_values(call.values[node])
        )

    def quantum(self, call: Call, quanta: Mapping[fx.Node, Any]) -> Any:
        with torch.no_grad():
            return call.evaluated(lambda node: quanta.get(node, call.values[node]))

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        others = [call.values[leaf] for leaf in call.leaves() if _is_other(leaf, call, units)]
        if any(bool(other.any()) for other in others):  # beside the spikes, and no spikes
            return None
        found = call.evaluated(lambda node: units.get(node, call.values[node]))
        return found if isinstance(found, Tensor) else None


class _MovedIfZero(_Moved):
    """Moved, where what is put between them is 0.

    Args:
        name: the argument with the value that is put there.
        standard: of it.
    """

    text = "moved; analog if something else than 0 stands between them"

    def __init__(self, name: str, standard: Any = 0) -> None:
        self._name, self._standard = name, standard

    def carries(self, call: Call) -> bool:
        filler = call.given(self._name, self._standard)
        return filler is None or (isinstance(filler, (int, float)) and filler == 0)


class _Padded(_Moved):
    """Moved apart; zeros or copies stand at the borders."""

    text = "moved; analog if padded with another constant than 0"

    def carries(self, call: Call) -> bool:
        return not call.given("value") or call.given("mode", "constant") != "constant"


class _Resized(_Moved):
    """Copied, by nearest neighbours; other modes mix."""

    text = "copied by the nearest modes, mixed by the others"

    def carries(self, call: Call) -> bool:
        return str(call.given("mode", "nearest")).startswith("nearest")


class _Chosen(_Moved):
    """Chosen by a mask: spikes, where 0 or other spikes are the other choice."""

    text = "chosen; analog if the other choice is a constant other than 0"

    def __init__(self, *choices: str) -> None:
        self._choices = choices

    def carries(self, call: Call) -> bool:
        return all(map(self._is_spikes_or_zero, self._given(call)))

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        return call.evaluated(lambda node: counts.get(node, call.values[node]))

    def _given(self, call: Call) -> list[Any]:
        return [call.given(name) for name in self._choices]

    def _is_spikes_or_zero(self, choice: Any) -> bool:
        if isinstance(choice, fx.Node):
            return bool(choice.meta.get("spikes", False))
        return isinstance(choice, Number) and choice == 0


class _Added(SpikeRule):
    """A sum delivers the spikes of all its terms."""

    text = "added up"

    def carries(self, call: Call) -> bool:
        return not any(_is_constant(call.given(name)) for name in ("input", "other"))

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        found = [counts[leaf] for leaf in call.leaves() if leaf in counts]
        total = found[0]
        for each in found[1:]:
            total = total + each
        return total.expand(call.value.shape)

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        first, *others = [
            units[leaf].expand(call.value.shape) for leaf in call.leaves() if leaf in units
        ]
        return first if all(first.equal(other) for other in others) else None


class _Accumulated(SpikeRule):
    """A sum over positions: it acts on the counts as on the values."""

    text = "added up"

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        return call.evaluated(lambda node: counts.get(node, call.values[node]))

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        return _common(call, units)


class _Scaled(SpikeRule):
    """Given other sizes by constants, which the next layer's weights take over."""

    text = "scaled"
    scales = True

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        # the first: of x.type_as(y) and x.to(y) only the type of y is read
        return next(counts[leaf] for leaf in call.leaves() if leaf in counts).expand(
            call.value.shape
        )

    def quantum(self, call: Call, quanta: Mapping[fx.Node, Any]) -> Any:
        with torch.no_grad():
            found = call.evaluated(lambda node: quanta.get(node, call.values[node])).abs()
            return found if bool((found > 0).all()) else None

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        [source] = [units[leaf] for leaf in call.leaves() if leaf in units][:1]
        found = call.evaluated(lambda node: units.get(node, call.values[node]))
        return found.to(source) if found.shape == source.shape else None


class _Averaged(SpikeRule):
    """Delivered by a window: an average is part of the next layer's synapses."""

    text = "averaged as part of the next layer's synapses"

    def __init__(self, count: Any) -> None:
        self._count = count

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        [found] = [counts[leaf] for leaf in call.leaves() if leaf in counts]
        return self._count(call, found)

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        return _common(call, units)


class _Selected(_Moved):
    """The largest running sum: what comes out is spikes of the same size (LI pooling)."""

    text = "selected by their running sums, spikes again"
    moves = False
    homogeneous = selects = True

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        return torch.ones_like(call.value, dtype=torch.float64)

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        largest = super().unit(call, units)
        smallest = super().unit(call, {node: -unit for node, unit in units.items()})
        if largest is None or smallest is None or not torch.allclose(largest, -smallest):
            return None
        return largest


class _Sloped(SpikeRule):
    """Spikes of the signed neuron before it, given other sizes by the sign of their sum."""

    text = "scaled by the sign of their sum"
    homogeneous = True

    def unit(self, call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
        found = units[call.source]
        return found if bool((found > 0).all()) else None

    def carries(self, call: Call) -> bool:
        return True

    def count(self, call: Call, counts: Mapping[fx.Node, Any]) -> Any:
        return next(counts[leaf] for leaf in call.leaves() if leaf in counts)


class _Rounded(SpikeRule):
    """Rounded by their running sum: whole numbers come out, which are no spikes."""

    text = "rounded by their sum, analog afterwards"
    homogeneous = True


class _Mixed(SpikeRule):
    """Weighted sums of them, or something else beside them."""

    text = "mixed to analog values"


def _common(call: Call, units: Mapping[fx.Node, Tensor]) -> Tensor | None:
    """The unit of sums over positions with one unit; None where it differs within a sum."""
    given = {leaf: units[leaf] for leaf in call.leaves() if leaf in units}

    def summed(power: int) -> Tensor:
        powers = {node: unit**power for node, unit in given.items()}
        found: Tensor = call.evaluated(lambda node: powers.get(node, call.values[node]))
        return found

    ones, once, squares = summed(0), summed(1), summed(2)
    alike = torch.allclose(squares * ones, once.square(), rtol=1e-4, atol=0)
    return once / ones.where(ones != 0, 1.0) if alike else None


def _is_other(leaf: Any, call: Call, units: Mapping[fx.Node, Tensor]) -> bool:
    """Whether an argument is a tensor of floats that are no spikes."""
    if not isinstance(leaf, fx.Node) or leaf in units:
        return False
    value = call.values[leaf]
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_constant(term: Any) -> bool:
    """Whether a term of a sum adds something that is no spike."""
    if isinstance(term, fx.Node):
        return not term.meta["spikes"]
    return term is not None and not (isinstance(term, Number) and term == 0)


def _without_values(value: Any) -> Any:
    """Constants beside spikes: no spikes. Indices and masks stay."""
    return pytree.tree_map_only(
        Tensor,
        lambda v: torch.zeros_like(v, dtype=torch.float64) if v.is_floating_point() else v,
        value,
    )


UNKNOWN = SpikeRule()
MOVED, ADDED, ACCUMULATED, SCALED = _Moved(), _Added(), _Accumulated(), _Scaled()
PADDED, RESIZED, SELECTED, SLOPED, MIXED = _Padded(), _Resized(), _Selected(), _Sloped(), _Mixed()
ROUNDED = _Rounded()
AVERAGED = _Averaged
CHOSEN = _Chosen
MOVED_IF_ZERO = _MovedIfZero
# for register_op, by the names that people give them
RULES: dict[str, SpikeRule] = {
    "moved": MOVED,
    "added": ADDED,
    "accumulated": ACCUMULATED,
    "scaled": SCALED,
    "mixed": MIXED,
}
