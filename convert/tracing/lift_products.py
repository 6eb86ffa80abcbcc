"""Products with a constant, however written, as layers with weights.

``x @ W``, ``A @ x``, ``torch.einsum("bchw,dc->bdhw", x, W)``, ``addmm``, ``bmm`` and their like
contract some dimensions of x with a tensor that never changes: that is a linear layer between
other dimensions, or a grouped 1×1 convolution where both have indices in common that are not
contracted (weights for each head). As layers they receive spikes and accumulate.
"""

import math
from typing import Any

import torch
from torch import fx, nn

from spikeport.convert.graph.nodes import attribute, call_node, place, unique
from spikeport.convert.graph.operations.einstein import Product
from spikeport.convert.graph.operations.table import call_of, operation_name

CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def lift_products(graph: fx.Graph, root: nn.Module) -> None:
    """Put layers in the places of products with one constant factor, in place.

    Left as they are: products of two values that depend on the input, and those that sum nothing,
    which only scale.
    """
    for node in list(graph.nodes):
        known = call_of(node, root)
        if known is None or node.op not in ("call_function", "call_method"):
            continue
        row, call = known
        product = row.einstein_sum(call) if row.einstein_sum is not None else None
        if product is None or not all(isinstance(f, fx.Node) for f in product.factors):
            continue
        constant = [factor.op == "get_attr" for factor in product.factors]
        if constant[0] != constant[1]:
            _Lifting(graph, root, node, product, constant.index(True)).run()


class _Lifting:
    """One product on its way to a layer."""

    def __init__(
        self, graph: fx.Graph, root: nn.Module, node: fx.Node, product: Product, weights: int
    ) -> None:
        self.graph, self.root, self.node, self.product = graph, root, node, product
        self.x, self.indices = product.factors[1 - weights], product.terms[1 - weights]
        self.value = attribute(root, str(product.factors[weights].target)).detach()
        self.own, self.out = product.terms[weights], product.out
        self._drop_broadcast_dimensions()

    def _drop_broadcast_dimensions(self) -> None:
        """Weights without the dimensions of size 1 that the result has from x."""
        for dim in reversed(range(len(self.own))):
            index = self.own[dim]
            if self.value.shape[dim] == 1 and index in self.indices and index in self.out:
                self.value = self.value.squeeze(dim)
                self.own = self.own[:dim] + self.own[dim + 1 :]

    def run(self) -> None:
        """Replace the node, if the product has the form of a layer."""
        x, own, out = self.indices, self.own, self.out
        if any(len(set(term)) != len(term) for term in (x, own, out)):
            return
        shared = "".join(i for i in x if i in own and i in out)
        summed = "".join(i for i in x if i in own and i not in out)
        free = "".join(i for i in own if i not in x)
        kept = "".join(i for i in x if i not in own)
        sizes = dict(zip(own, self.value.shape, strict=True))
        matching = all(self.x.meta["value"].shape[x.index(i)] == sizes[i] for i in shared + summed)
        whole = set(out) == set(shared + free + kept)
        if not summed or not matching or not whole or kept[:1] != x[0] or len(kept) > 4:
            return
        layer = self._layer(shared, summed, free, len(kept) - 1, sizes)
        path = unique(self.root, f"{self.node.meta['path']}.{self.node.meta['op']}".lstrip("."))
        place(self.root, path, layer.to(self.value.device).train(False))
        with self.graph.inserting_before(self.node):
            self._record(path, shared, summed, free, kept, sizes)

    def _layer(
        self, shared: str, summed: str, free: str, positions: int, sizes: dict[str, int]
    ) -> nn.Module:
        groups, inputs, outputs = (
            math.prod(sizes[i] for i in part) for part in (shared, summed, free)
        )
        order = [self.own.index(i) for i in shared + free + summed]
        # a view where it can be one: weights that are used elsewhere too stay the same tensor
        weight = self.value.permute(order).reshape(groups * outputs, inputs)
        if not shared:
            layer: Any = nn.Linear(inputs, outputs, False)
        else:
            build = CONVOLUTIONS[positions]
            layer = build(groups * inputs, groups * outputs, 1, groups=groups, bias=False)
            weight = weight.view(layer.weight.shape)
        layer.weight = nn.Parameter(weight)
        return layer

    def _record(
        self, path: str, shared: str, summed: str, free: str, kept: str, sizes: dict[str, int]
    ) -> None:
        """x in the layer's order of dimensions, the layer, the result's order."""
        if not shared:
            now, channels = self._permuted(self.x, self.indices, kept + summed), len(kept)
            after = kept + free
        else:
            inner = kept[:1] + shared + summed + kept[1:]
            now, channels = self._permuted(self.x, self.indices, inner), 1
            after = kept[:1] + shared + free + kept[1:]
        inputs, made = shared + summed, shared + free
        if len(inputs) > 1:
            last = channels + len(inputs) - 1
            now = self._call("call_method", "flatten", (now, channels, last))
        if shared and len(kept) == 1:
            now = self._call("call_method", "unsqueeze", (now, 2))
        now = self._call("call_module", path, (now,))
        if shared and len(kept) == 1:
            now = self._call("call_method", "squeeze", (now, 2))
        if len(made) > 1:
            sides = tuple(sizes[i] for i in made)
            now = self._call("call_method", "unflatten", (now, channels, sides))
        elif not made:
            now = self._call("call_method", "squeeze", (now, channels))
        now = self._permuted(now, after, self.out)
        if self.product.offset is not None:
            now = self._call("call_function", torch.add, (now, self.product.offset))
        self.node.replace_all_uses_with(now)
        self.graph.erase_node(self.node)

    def _permuted(self, node: fx.Node, before: str, after: str) -> fx.Node:
        if before == after:
            return node
        order = [before.index(i) for i in after]
        return self._call("call_method", "permute", (node, *order))

    def _call(self, kind: str, target: Any, args: tuple[Any, ...]) -> fx.Node:
        new = self.graph.create_node(kind, target, args)
        module = self.root.get_submodule(target) if kind == "call_module" else None
        values = fx.node.map_arg(args, self._value)
        new.meta = {"path": self.node.meta["path"], "op": operation_name(new, module)}
        new.meta["value"] = call_node(self.root, new, values, {})
        return new

    def _value(self, node: fx.Node) -> Any:
        return node.meta["value"]
