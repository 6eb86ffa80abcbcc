"""Weights that undo what is systematic in a layer's input error."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.calibration.layerwise import LayerwisePass, WeightedView
from spikeport.calibration.statistics import require_finite
from spikeport.convert import ConversionError
from spikeport.convert.graph.same_padding import Conv2dSame, pad_same

MORE = 1.25  # data for the next solution, relative to the last


@dataclass(frozen=True)
class WeightCalibration(LayerwisePass):
    """Ridge regression of the source's pre-activation on the spiking layer's mean input.

    Li et al. 2021, "A Free Lunch From ANN: Towards Efficient, Accurate Spiking Neural Networks
    Calibration", advanced pipeline, minimises the error of each layer's output over its weights
    with Adam; the mean input over the timesteps makes the problem linear, and its minimum has a
    closed form: with the inputs X and the error E of the present weights,
    ``ΔW = (XᵀX + λ·mean(diag XᵀX))⁻¹ XᵀE``. The bias is part of it and is not penalised. Sums over
    the portions of the data are kept, and solved again whenever they have grown by a quarter.

    Layers other than convolutions in two dimensions and linear layers are left as they are, and
    those that share their weights with another. The weights are what the analog reading has, too:
    after this pass it is no longer the source network, passes in later forwards take it for their
    target, and a second run starts from it.

    Attributes:
        ridge: λ > 0; large values keep the weights.
    """

    ridge: float = 0.1
    changes_weights = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ridge > 0:
            raise ConversionError(f"WeightCalibration.ridge is {self.ridge!r}; expected > 0")

    def adjust_weights(self, view: WeightedView) -> None:
        """Add this portion's sums, and solve if they are many more than at the last time."""
        layer, memory = view.layer, view.memory
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            return
        require_finite(view.name, view.mean_input)
        groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        if not memory:
            memory["start"], memory["solved"] = _weights(layer, groups), 0.0
        x = _inputs(layer, view.mean_input, groups)  # [G, N, K (+ 1)]
        error = _outputs(view.target, layer, groups) - x @ memory["start"].mT.to(
            x.dtype
        )  # [G, N, C' / G]
        # products in single precision take half the time; their sums need double
        memory["xx"] = memory.get("xx", 0.0) + (x.mT @ x).double()
        memory["xe"] = memory.get("xe", 0.0) + (x.mT @ error).double()
        if view.portion < MORE * memory["solved"]:
            return
        memory["solved"] = view.portion
        penalised = x.shape[-1] - (layer.bias is not None)
        change = _solve(memory["xx"], memory["xe"], penalised, self.ridge)
        weight = (memory["start"] + change.mT).flatten(0, 1).to(layer.weight.dtype)
        layer.weight.data = weight[:, :penalised].reshape(layer.weight.shape).contiguous()
        if layer.bias is not None:
            layer.bias.data = weight[:, -1].contiguous()


def _weights(layer: nn.Conv2d | nn.Linear, groups: int) -> Tensor:
    """Weights, and the bias where there is one as the last column, [G, C' / G, K (+ 1)]."""
    rows = layer.weight.detach().flatten(1).double()
    if layer.bias is not None:
        rows = torch.cat([rows, layer.bias.detach().double()[:, None]], 1)
    return rows.unflatten(0, (groups, -1))


def _inputs(layer: nn.Conv2d | nn.Linear, x: Tensor, groups: int) -> Tensor:
    """The inputs that each output weighs and adds up, with a one for a bias, [G, N, K (+ 1)]."""
    if isinstance(layer, nn.Linear):
        rows = x.reshape(1, -1, x.shape[-1])
    else:
        columns = F.unfold(
            _padded(layer, x), layer.kernel_size, layer.dilation, stride=layer.stride
        )
        rows = columns.unflatten(1, (groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)
    if layer.bias is not None:
        rows = torch.cat([rows, torch.ones_like(rows[..., :1])], -1)
    return rows


def _padded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if isinstance(layer, Conv2dSame):
        return pad_same(x, layer, 0.0)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    # also knows padding="same"
    return F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)


def _outputs(target: Tensor, layer: nn.Conv2d | nn.Linear, groups: int) -> Tensor:
    """[B, C', ...] as [G, N, C' / G]."""
    if isinstance(layer, nn.Linear):
        return target.reshape(1, -1, target.shape[-1])
    rows = target.flatten(2).unflatten(1, (groups, -1))  # [B, G, C' / G, HW]
    return rows.permute(1, 0, 3, 2).flatten(1, 2)


def _solve(xx: Tensor, xe: Tensor, penalised: int, ridge: float) -> Tensor:
    """[G, K (+ 1), C' / G]."""
    diagonal = xx.diagonal(dim1=-2, dim2=-1)
    penalty = 1e-9 * diagonal + 1e-12
    mean = diagonal[:, :penalised].mean(1, keepdim=True)
    penalty[:, :penalised] = ridge * mean.clamp_min(1e-12)
    factor, failed = torch.linalg.cholesky_ex(xx + torch.diag_embed(penalty))
    while bool(failed.any()):  # rounding, with inputs that depend on one another and a small λ
        penalty *= 10
        factor, failed = torch.linalg.cholesky_ex(xx + torch.diag_embed(penalty))
    return torch.cholesky_solve(xe, factor)
