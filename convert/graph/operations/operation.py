"""One row of the table of operations: all that any part of the program has to know of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, fx, nn

from spikeport.convert.graph.operations.call import Call
from spikeport.convert.graph.operations.channels import ChannelRule, kept
from spikeport.convert.graph.operations.einstein import Product
from spikeport.convert.graph.operations.spikes import UNKNOWN, SpikeRule
from spikeport.convert.graph.operations.staircase import Climb

# What an operation does in time:
# weighted    carries the synapses: linear in its input, with weights of its own (a layer)
# linear      commutes with the mean over time: acts on each timestep by itself
# product     linear in each factor: a difference operation only where two factors change in time
# difference  F(mean) is not mean(F): acts on the running mean of its inputs, emits the difference
# shape       reads sizes and no values, whatever its inputs are in time
# fixed       computed once: on constants, sizes and the constant input only
InTime = Literal["weighted", "linear", "product", "difference", "shape", "fixed"]
IN_TIME_KINDS: tuple[InTime, ...] = (
    "weighted",
    "linear",
    "product",
    "difference",
    "shape",
    "fixed",
)

Span = tuple[float, float]  # of an activation clamp(x, low, high)
Engine = Literal["pass", "add", "concatenate", "flatten", "average", "max_pool", "scale"]


@dataclass(frozen=True)
class Example:
    """A call of an operation, for the tests that try every verb on every row.

    Attributes:
        arguments: all positional arguments for a tensor x [B, ...] that changes in time (the
            constant input where the operation is "fixed", sizes of it where it is "shape").
        shape: of x without the batch.
        keywords: keyword arguments of functions and methods.
        layer: makes the layer of a class of the row, if the row has layers.
    """

    arguments: Callable[[Tensor], tuple[Any, ...]] = lambda x: (x,)
    shape: tuple[int, ...] = (4, 6, 6)
    keywords: Mapping[str, Any] = field(default_factory=dict)
    layer: Callable[[type[nn.Module]], nn.Module] = lambda cls: cls()


@dataclass(frozen=True)
class Operation:
    """All knowledge of one operation.

    An operation is known by its bare names, however it is written: ``F.relu``, ``torch.relu_``,
    ``Tensor.relu`` and ``nn.ReLU`` are all ``relu``.

    Attributes:
        name: the name that ``node.meta["op"]`` has.
        in_time: what it does in time, see ``InTime``.
        spikes: what becomes of spikes, and how they are counted through it. ``UNKNOWN``, where
            nobody said: what comes out is analog and is charged so.
        aliases: other bare names of the same.
        layers: classes of modules that do it, each with the constructor arguments that a file
            needs to make one again; each is also an attribute.
        arguments: names of the function's positional arguments, in order; the last one may be
            ``*name``, which takes all that follow.
        method_arguments: those of the tensor's method, where the order is another one.
        acts: what it does in time for the arguments of one call, where that is not ``in_time``.
        linear_in: the arguments in which a product is linear; None: in all.
        constant: arguments that must not change in time (a mask, an index).
        channels: where the channels of a value stand after it.
        macs: multiply-accumulates of one call, for all images together. None: nothing but
            elementwise work, comparisons and moves; 0 is counted for it.
        activation: the range of the clamp that it is, or None for arguments that make it none.
        identity: it returns its input, in eval mode.
        by_channel: acts on each channel by itself and commutes with a positive factor on it.
        engine: how the native engine takes it into the synapses before a neuron.
        window: (rows, columns) that an average pool makes one of, for a map of a size (H, W);
            None where windows overlap, are padded or are not known before data.
        lift: the layer in the place of a function that is called with weights that never change;
            the call has their values.
        einstein_sum: the product of two tensors that it is, or None for a call that is none.
        staircase: the staircase that it makes of one, see ``Staircase``; None for a call that
            makes none.
        compares: whether it is true above or below its second argument.
        mask: what it makes of a mask: the same one, in another type, or its opposite.
        chooses: the ways to read a call as a choice: (mask, value where it is true, value where it
            is not).
        keeps: which of its two arguments it keeps, at every position.
        of_two: spellings that are another operation with a tensor in the second place.
        filled_with: the number that a tensor made from sizes consists of, or its argument's name.
        examples: of calls; the first one is the usual one.
    """

    name: str
    in_time: InTime
    spikes: SpikeRule = UNKNOWN
    aliases: tuple[str, ...] = ()
    layers: Mapping[type[nn.Module], tuple[str, ...]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("input",)
    method_arguments: tuple[str, ...] | None = None
    acts: Callable[[Call], InTime] | None = None
    linear_in: tuple[str, ...] | None = None
    constant: tuple[str, ...] = ()
    channels: ChannelRule = kept
    macs: Callable[[Call], float] | None = None
    activation: Callable[[Call], Span | None] | None = None
    identity: bool = False
    by_channel: bool = False
    engine: Engine | None = None
    window: Callable[[Call, tuple[int, int]], tuple[int, int] | None] | None = None
    lift: Callable[[Call], nn.Module] | None = None
    einstein_sum: Callable[[Call], Product | None] | None = None
    staircase: Climb | None = None
    compares: Literal["above", "below"] | None = None
    mask: Literal["same", "opposite"] | None = None
    chooses: Callable[[Call], list[tuple[Any, Any, Any]]] | None = None
    keeps: Literal["larger", "smaller"] | None = None
    of_two: Mapping[str, str] = field(default_factory=dict)
    filled_with: float | str | None = None
    examples: tuple[Example, ...] = ()

    def call(
        self, node: fx.Node, root: nn.Module, values: Mapping[fx.Node, Any] | None = None
    ) -> Call:
        """A node's call of this operation, see ``Call``."""
        by_method = node.op == "call_method" and self.method_arguments is not None
        names = self.method_arguments if by_method else self.arguments
        return Call(node, names or (), root, values)

    @property
    def names(self) -> tuple[str, ...]:
        """All bare names."""
        return (self.name, *self.aliases)
