"""A readout that leaves out the first timesteps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spikeport.convert import ConversionError, SpikingNetwork


@dataclass(frozen=True)
class DelayedReadout:
    """The decoded output at T is the mean over the timesteps after the first ``share·T``.

    Bu et al. 2025, "Inference-Scale Complexity in ANN-SNN Conversion for High-Performance and
    Low-Power Applications", delayed evaluation: until spikes have come through all layers the
    output says nothing. Their delay is a number of timesteps; a share serves every T of a sweep.
    Reads no data. The latency stays T timesteps.

    Attributes:
        share: of the timesteps, in [0, 1).
    """

    share: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConversionError(
                f"DelayedReadout.share is {self.share!r}; expected 0 <= share < 1"
            )

    def __call__(
        self, network: SpikingNetwork, batches: Iterable[Any], progress: bool = True
    ) -> None:
        """Set ``network.readout_delay``."""
        network.readout_delay = self.share
