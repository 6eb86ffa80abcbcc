"""Attributes that other tools have left on layers: a converted network's layers are plain."""

import torch
from torch import nn

from spikeport.convert.graph.operations.table import row_of_layer


def drop_notes(root: nn.Module) -> None:
    """Delete what a layer of a known class does not have by itself, in place.

    Such are the ``qconfig`` of torch.ao and a training loop's notes, which may be functions that
    cannot be pickled.
    """
    for module in root.modules():
        row = row_of_layer(type(module))
        if row is None or type(module) not in row.layers:
            continue
        with torch.device("meta"):  # draws no random numbers
            own = vars(row.examples[0].layer(type(module)))
        notes = set(vars(module)) - set(own) - {"forward"}  # which may do what no layer does
        for name in notes:
            if not name.startswith("_"):
                delattr(module, name)
