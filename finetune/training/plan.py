"""The settings of a fine-tuning, beside the data, the timesteps and the epochs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikeport.calibration.recipes import Pass
from spikeport.convert import ConversionError
from spikeport.convert.simulation.timesteps import require_timesteps
from spikeport.finetune.gradient.batch_norms import NORMS
from spikeport.finetune.gradient.through_time import METHODS
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.training.losses import Loss, TargetLoss, WeightedSum
from spikeport.finetune.training.optimization import Optimization
from spikeport.finetune.training.selection import Select
from spikeport.finetune.training.timestep_schedule import require_count

LossFunction = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class FineTuning:
    """Settings of a fine-tuning: losses, gradient, steps, evaluation and speed.

    Attributes:
        losses: terms of ``finetune.training.losses``, each kind once, and functions of (outputs,
            targets) with a scalar result, such as ``nn.MSELoss()``; or one of these. None: ``TET``
            where there are labels and ``Distillation`` where there is a teacher, or
            ``OutputMatching`` for answers that are no class scores.
        select: the part of the answer that is trained, where the network returns several: a key of
            a dict, a place in a tuple, or a function of the answer. None: the whole answer.
        recipe: calibration recipe or passes that fit the thresholds to T first; None keeps them.
        anneal_from: T of the first epochs, from which it falls to the T that is trained for.
        surrogate: the derivative of a spike.
        method: "bptt", "sltt", "ottt" or "quantized", see ``finetune.gradient.through_time``.
        chunk: with "bptt": timesteps between the states that are kept, for less memory.
        optimization: learning rates and the like.
        leak: factor on the potential before each timestep: a number in (0, 1] for LIF, reached from
            1 over the first half; "learn" for parametric LIF, from the present one; None keeps it.
        norm: "folded": none, the weights are trained; "batch": a batch norm behind every layer that
            feeds a neuron, folded into the weights at the end; "threshold": one whose gain counts
            in thresholds (tdBN). See ``finetune.gradient.batch_norms``.
        evaluate_at: further T to measure at on the validation data.
        patience: stop after so many epochs without a better accuracy on the validation data, and
            return the best; None: return the last.
        mixed_precision: bfloat16 for the layers between neurons and for what neurons emit, while
            potentials, parameters and losses stay in float32; None: on GPUs that have it.
        compiled: neurons by ``torch.compile``, or where it can a quantized network as a whole,
            which takes minutes at first and then less time; and batch norms by torch's kernel where
            one process trains. Sums have another order, so that single spikes may differ from a run
            without it.
        seed: of the order of the images and of the T drawn.

    Raises:
        ConversionError: a value that is out of range, or values that do not go together.
    """

    losses: Loss | LossFunction | Sequence[Loss | LossFunction] | None = None
    select: Select = None
    recipe: str | Sequence[Pass] | None = "default"
    anneal_from: int | None = None
    surrogate: Surrogate = Surrogate()
    method: str = "bptt"
    chunk: int | None = None
    optimization: Optimization = Optimization()
    leak: float | str | None = None
    norm: str = "folded"
    evaluate_at: Sequence[int] = ()
    patience: int | None = None
    mixed_precision: bool | None = None
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.losses is not None:
            several = self.losses if isinstance(self.losses, Sequence) else [self.losses]
            terms = tuple(t if isinstance(t, Loss) else TargetLoss(function=t) for t in several)
            object.__setattr__(self, "losses", terms)
            WeightedSum(self.terms)
        object.__setattr__(self, "evaluate_at", tuple(map(require_timesteps, self.evaluate_at)))
        if self.patience is not None:
            require_count("patience", self.patience)
        if self.method not in METHODS:
            raise ConversionError(f"method is {self.method!r}; expected one of {METHODS}")
        if self.norm not in NORMS:
            raise ConversionError(f"norm is {self.norm!r}; expected one of {NORMS}")
        self._check_chunk()
        self._check_leak()
        if self.method == "quantized":
            self._check_quantized()

    @property
    def terms(self) -> tuple[Loss, ...]:
        """The losses; empty where the data decides on them."""
        assert self.losses is None or isinstance(self.losses, tuple)
        return tuple(term for term in self.losses or () if isinstance(term, Loss))

    def _check_chunk(self) -> None:
        if self.chunk is not None:
            require_timesteps(self.chunk)
            if self.method != "bptt":
                raise ConversionError(
                    f'chunk={self.chunk} goes with method="bptt"; {self.method!r} keeps one '
                    "timestep in memory anyway"
                )
        online = self.method in ("sltt", "ottt")
        if self.norm != "folded" and (online or self.chunk is not None):
            raise ConversionError(
                f"norm={self.norm!r} takes its statistics over all timesteps at once; it needs "
                'method="bptt" or "quantized", and chunk=None'
            )

    def _check_leak(self) -> None:
        number = isinstance(self.leak, (int, float)) and not isinstance(self.leak, bool)
        if self.leak not in (None, "learn") and not (number and 0 < float(self.leak or 0) <= 1):
            raise ConversionError(
                f'leak is {self.leak!r}; expected a number in (0, 1] for LIF, "learn" for '
                "parametric LIF, or None"
            )
        if self.leak == "learn" and self.method == "ottt":
            raise ConversionError('leak="learn" needs method="bptt" or "sltt"')

    def _check_quantized(self) -> None:
        if self.leak is not None:
            raise ConversionError(f'leak={self.leak!r} needs time, unlike method="quantized"')
        wrong = [type(e).__name__ for e in self.terms if e.statistics & {"membranes", "gaps"}]
        if wrong:
            raise ConversionError(
                f"{', '.join(wrong)} read(s) potentials of single timesteps, which "
                'method="quantized" does not have; leave it out, or pass method="bptt"'
            )

    def leak_at(self, progress: float) -> float | None:
        """The leak of LIF neurons: it grows from 1 (IF) over the first half of the training."""
        if self.leak is None or isinstance(self.leak, str):
            return None
        return 1 + (self.leak - 1) * min(1.0, 2 * progress)
