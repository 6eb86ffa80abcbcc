"""The layer between numbers and whole numbers of a unit."""

import torch
from torch import Tensor, nn


class ToUnit(nn.Module):
    """The whole number that is nearest to ``x · scale``, half to even.

    Over time it acts on the sum of what has come so far: what was rounded away at one timestep
    comes at a later one, and after T timesteps no more than half a unit is missing.

    Args:
        shape: of the scale; it broadcasts against [B, ...].

    Attributes:
        shape: see above.
        scale: number of units in 1, float32.
    """

    op_name = "to_unit"

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("scale", torch.ones(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] to the same shape."""
        scale: Tensor = self.scale  # type: ignore[assignment]
        return (x * scale).round()
