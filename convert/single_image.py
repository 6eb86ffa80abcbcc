"""Whether what came as a batch is a single image, which torch's layers may also take."""

from torch import Tensor, nn

CONVOLUTIONS = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}  # dimensions of their inputs


def is_single_image(model: nn.Module, example: Tensor) -> bool:
    """Whether an example that could not be converted is [C, ...] without its batch dimension.

    The model takes it with one; and without, it fails, or its convolutions are given too few
    dimensions, which they take for a batch of one.

    Args:
        model: in eval mode.
        example: what should be a batch.
    """
    if not _takes(model, example[None]):
        return False
    used = {
        n for kind, n in CONVOLUTIONS.items() if any(isinstance(m, kind) for m in model.modules())
    }
    return used == {example.ndim + 1} or not _takes(model, example)


def _takes(model: nn.Module, x: Tensor) -> bool:
    try:
        model(x.clone())
    except Exception:  # whatever the model says
        return False
    return True
