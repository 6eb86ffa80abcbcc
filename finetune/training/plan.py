"""Everything that decides the weights, together with the data and the network."""

from dataclasses import dataclass

from spikeport.convert import ConversionError
from spikeport.convert.simulation.run import require_timesteps
from spikeport.finetune.gradient.batch_norms import NORMS
from spikeport.finetune.gradient.through_time import METHODS
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.training.losses import Sum
from spikeport.finetune.training.optimisation import Optimisation
from spikeport.finetune.training.timestep_schedule import Curriculum


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
        if self.method == "quantised":
            self._check_quantised()
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
        online = self.method in ("sltt", "ottt")
        if self.norm != "folded" and (online or self.chunk is not None):
            raise ConversionError(
                f"norm={self.norm!r} takes its statistics over all timesteps at once; it needs "
                'method="bptt" or "quantised", and chunk=None'
            )
        if self.leak == "learn" and self.method == "ottt":
            raise ConversionError('leak="learn" needs method="bptt" or "sltt"')

    def _check_quantised(self) -> None:
        if self.leak is not None:
            raise ConversionError(f'leak={self.leak!r} needs time, unlike method="quantised"')
        wrong = [
            type(term).__name__
            for term in self.losses.terms
            if term.statistics & {"membranes", "gaps"}
        ]
        if wrong:
            raise ConversionError(
                f"{', '.join(wrong)} read(s) potentials of single timesteps, which "
                'method="quantised" does not have; leave it out, or pass method="bptt"'
            )

    def leak_at(self, progress: float) -> float | None:
        """The leak of LIF neurons: it grows from 1 (IF) over the first half of the training."""
        if self.leak is None or isinstance(self.leak, str):
            return None
        return 1 + (self.leak - 1) * min(1.0, 2 * progress)
