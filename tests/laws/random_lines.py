"""All lines of random networks, by kind; a line that stands twice is drawn twice as often."""

import random_layers as layers
import random_shapes as shapes
import random_values as values
from random_draw import Line

LINES: dict[str, tuple[Line, ...]] = {
    "layer": (
        *(layers.convolution, layers.plain_convolution, layers.plain_convolution),
        *(layers.transposed, layers.linear, layers.block),
    ),
    "functional layer": (
        *(layers.functional_convolution, values.weight_product, values.weight_product),
    ),
    "pool": (
        *(layers.pool, layers.pool, layers.adaptive_pool, layers.pool_by_size),
        *(layers.reduction, layers.rare_pool),
    ),
    "norm": (layers.norm, layers.norm, layers.norm, layers.functional_norm),
    "rectifier": (values.rectifier,),
    "smooth": (values.smooth,),
    "sum": (values.residual, values.residual, values.concatenation, values.splitting),
    "product": (values.product, values.gate, values.linear_gate),
    "parameter": (values.scaled,),
    "move": (shapes.moved, shapes.moved, shapes.upsampled),
    "size": (shapes.sized, shapes.sized, shapes.written),
    "tokens": (shapes.attention, shapes.recurrent, shapes.token, shapes.token),
    "patches": (shapes.patches,),
    "folded": (shapes.folded,),
    "shared": (shapes.shared,),
}
