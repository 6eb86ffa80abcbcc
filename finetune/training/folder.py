"""The folder of a training that may be stopped at any moment: its state and its log."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeport.convert import ConversionError
from spikeport.convert.files import replacing, write_csv
from spikeport.finetune.training.epochs import EpochTraining

STATE, LOG = "state.pt", "log.csv"

# Facts that tell a training from others: text, numbers, or tensors, which are compared up to
# rounding, since another number of threads adds up in another order.
Identity = Mapping[str, Any]


class TrainingFolder:
    """A folder in which a training leaves its state after every epoch, and is found again.

    Args:
        path: the folder; made when something is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def state(self, identity: Identity) -> dict[str, Any] | None:
        """The state of a training that was stopped, on the CPU; None where there is none.

        Args:
            identity: what must be as it was.

        Raises:
            ConversionError: the state is damaged, or that of another training.
        """
        if not (self.path / STATE).exists():
            return None
        kept = self._read()
        if kept["identity"].keys() != identity.keys():
            raise self._damaged("it holds a training of another kind")
        other = [
            _difference(name, kept["identity"][name], ours)
            for name, ours in identity.items()
            if not _alike(kept["identity"][name], ours)
        ]
        if other:
            raise ConversionError(
                f"'{self.path}' is a training with {'; with '.join(other)}. Give the same "
                "arguments to go on with it, or another folder."
            )
        state: dict[str, Any] = kept["training"]
        return state

    def keep(self, training: EpochTraining, identity: Identity) -> None:
        """Write the state and the log after an epoch.

        Raises:
            OSError: they cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # the log is written from the state, so the two never disagree for longer than a moment
        kept = {"identity": dict(identity), "training": training.state()}
        try:
            with replacing(self.path / STATE) as file:
                torch.save(kept, file)
        except RuntimeError as error:  # torch's name for a full disk
            raise OSError(f"'{self.path / STATE}' cannot be written: {error}") from error
        write_log(self.path / LOG, training.rows)

    def _read(self) -> dict[str, Any]:
        content = io.BytesIO((self.path / STATE).read_bytes())
        try:
            kept = torch.load(content, map_location="cpu", weights_only=True)
        except Exception as error:  # a file that was cut off may fail in any way
            raise self._damaged(f"{type(error).__name__}") from error
        if not isinstance(kept, dict) or kept.keys() != {"identity", "training"}:
            raise self._damaged("it holds something else than a training")
        return kept

    def _damaged(self, reason: str) -> ConversionError:
        return ConversionError(
            f"'{self.path / STATE}' is damaged or no state of this training ({reason}); delete the "
            "folder to begin again, or give another one"
        )


def write_log(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one line per epoch as CSV."""
    with replacing(path) as file:
        write_csv(file, list(rows[0]), [{k: round(v, 5) for k, v in row.items()} for row in rows])


def _alike(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, Tensor) and isinstance(ours, Tensor):
        ours = ours.to(theirs)
        return theirs.shape == ours.shape and torch.allclose(theirs, ours, rtol=1e-3, atol=1e-5)
    if isinstance(theirs, Tensor) or isinstance(ours, Tensor):
        return False
    return bool(theirs == ours)


def _difference(name: str, theirs: Any, ours: Any) -> str:
    if isinstance(theirs, Tensor) or isinstance(ours, Tensor):
        return f"another {name}"
    return f"another {name}: {theirs}, not {ours}"
