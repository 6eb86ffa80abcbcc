"""Everything that decides the weights, together with the data and the network."""

from dataclasses import dataclass

from spikeport.convert import ConversionError
from spikeport.convert.simulate import require_timesteps
from spikeport.finetune.curriculum import Curriculum
from spikeport.finetune.losses import Sum
from spikeport.finetune.norms import NORMS
from spikeport.finetune.optimisation import Optimisation
from spikeport.finetune.surrogates import Surrogate
from spikeport.finetune.through_time import METHODS


@dataclass(frozen=True)
class Plan:
    """The record of a fine-tuning: its repr is compared before a stopped one goes on.

    See ``finetune`` for the attributes.
    """

    curriculum: Curriculum
    epochs: int
    losses: Sum
    surrogate: Surrogate
    optimisation: Optimisation
    method: str
    chunk: int | None
    leak: float | str | None
    norm: str
    evaluate_at: tuple[int, ...]
    patience: int | None
    mixed_precision: bool | None
    compiled: bool
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "patience"):
            value = getattr(self, name)
            absent = value is None and name == "patience"
            if not absent and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConversionError(f"{name} is {value!r}; expected an int >= 1")
        if self.method not in METHODS:
            raise ConversionError(f"method is {self.method!r}; expected one of {METHODS}")
        if self.chunk is not None:
            require_timesteps(self.chunk)
            if self.method != "bptt":
                raise ConversionError(
                    f'chunk={self.chunk} goes with method="bptt"; {self.method!r} keeps one '
                    "timestep in memory anyway"
                )
        number = isinstance(self.leak, (int, float)) and not isinstance(self.leak, bool)
        if self.leak not in (None, "learn") and not (number and 0 < float(self.leak or 0) <= 1):
            raise ConversionError(
                f'leak is {self.leak!r}; expected a number in (0, 1] for LIF, "learn" for '
                "parametric LIF, or None"
            )
        if self.norm not in NORMS:
            raise ConversionError(f"norm is {self.norm!r}; expected one of {NORMS}")
        if self.norm != "folded" and (self.method != "bptt" or self.chunk is not None):
            raise ConversionError(
                f"norm={self.norm!r} takes its statistics over all timesteps at once; it needs "
                'method="bptt" and chunk=None'
            )
        if self.leak == "learn" and self.method == "ottt":
            raise ConversionError('leak="learn" needs method="bptt" or "sltt"')

    def leak_at(self, progress: float) -> float | None:
        """The leak of LIF neurons: it grows from 1 (IF) over the first half of the training."""
        if self.leak is None or isinstance(self.leak, str):
            return None
        return 1 + (self.leak - 1) * min(1.0, 2 * progress)
