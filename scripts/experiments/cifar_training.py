"""Trains a small image classifier in memory, on a CPU, and goes on where it was stopped."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

PADDING = 4  # of the random crop, on every side
EVALUATION_BATCH = 500

Split = tuple[Tensor, Tensor]  # images, uint8 [N, 3, H, W], and labels, int64 [N]


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, together with the data, the model's name and torch's version.

    SGD with Nesterov momentum under one cycle of the learning rate (Smith and Topin 2018); random
    crops of the zero-padded image, and flips. Augmented pixels are zero after normalisation.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.2  # at its peak
    warm_up: float = 0.25  # part of the steps in which it rises
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    seed: int = 0


class Training:
    """A model, its optimiser and its log, as one state that can be saved after every epoch.

    Args:
        model: in any mode; trained in place, with torch's global generator.
        recipe: how.
        train: images to learn from.
        test: images to measure on after every epoch; nothing is chosen by them.
        normalisation: (mean, std) [3] of pixels in [0, 1].
        compiled: train through torch.compile, which needs a C++ compiler and a minute, and makes
            a step of a ResNet a quarter to a half faster.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        train: Split,
        test: Split,
        normalisation: tuple[Tensor, Tensor],
        compiled: bool = False,
    ) -> None:
        self.model = model.to(memory_format=torch.channels_last)
        self._forward = torch.compile(model) if compiled else model
        self.recipe = recipe
        self.train, self.test = train, test
        self.mean, self.std = (part.view(3, 1, 1) for part in normalisation)
        self.compiled = compiled
        self._steps = max(1, len(train[0]) // recipe.batch_size)  # per epoch
        self.rows: list[dict[str, float]] = []  # one per epoch
        self.optimiser = torch.optim.SGD(
            model.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            recipe.learning_rate,
            epochs=recipe.epochs,
            steps_per_epoch=self._steps,
            pct_start=recipe.warm_up,
            cycle_momentum=False,
        )

    def run(self, after_epoch: Callable[[], None]) -> None:
        """Trains to the last epoch of the recipe, from wherever the state is.

        Args:
            after_epoch: called after every epoch, to save the state.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        while len(self.rows) < self.recipe.epochs:
            began = time.monotonic()
            # A seed per epoch makes the generator's state a function of the epoch: a run that was
            # stopped draws the same numbers without any of it being saved.
            torch.manual_seed(self.recipe.seed * 10007 + len(self.rows) + 1)
            learning_rate = float(self.schedule.get_last_lr()[0])
            loss, accuracy = self._epoch()
            self.rows.append(
                {
                    "epoch": len(self.rows) + 1,
                    "learning_rate": learning_rate,
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "test_accuracy": self.evaluate(),
                    "seconds": time.monotonic() - began,
                }
            )
            after_epoch()

    def evaluate(self) -> float:
        """Accuracy on the test images, in percent."""
        self.model.eval()
        images, labels = self.test
        right = 0
        with torch.inference_mode():
            for start in range(0, len(images), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                scores = self.model(self._input(images[part]))
                right += int((scores.argmax(1) == labels[part]).sum())
        return 100 * right / len(images)

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on, and the recipe to compare with."""
        return {
            "recipe": asdict(self.recipe),
            "rows": self.rows,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any], origin: str) -> None:
        """Goes back to a state.

        Args:
            state: from `state`.
            origin: what to call it in an error.

        Raises:
            ValueError: it was made with another recipe.
        """
        ours = asdict(self.recipe)
        other = [
            f"{field.name}={state['recipe'].get(field.name)}, not {ours[field.name]}"
            for field in fields(self.recipe)
            if state["recipe"].get(field.name) != ours[field.name]
        ]
        if other:
            raise ValueError(
                f"{origin} is a training with {'; '.join(other)}. Give the same options to go on "
                "with it, or another output folder."
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.rows = list(state["rows"])

    def _epoch(self) -> tuple[float, float]:
        self.model.train()
        total = right = seen = 0.0
        with tqdm(self._batches(), f"epoch {len(self.rows) + 1}", self._steps) as bar:
            for images, labels in bar:
                scores = self._forward(self._input(images))
                loss = F.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                self.schedule.step()
                total += loss.item() * len(labels)
                right += int((scores.argmax(1) == labels).sum())
                seen += len(labels)
                bar.set_postfix_str(f"loss {total / seen:.3f}, accuracy {100 * right / seen:.2f} %")
                if not total < float("inf"):
                    raise FloatingPointError(
                        f"the loss is {loss.item()} in epoch {len(self.rows) + 1}; train with a "
                        f"learning rate below {self.recipe.learning_rate} into another folder."
                    )
        return total / seen, 100 * right / seen

    def _batches(self) -> Iterator[Split]:
        images, labels = self.train
        # Whole batches only: a short one has poor statistics, and is compiled for once more.
        for chosen in torch.randperm(len(images)).split(self.recipe.batch_size)[: self._steps]:
            yield images[chosen], labels[chosen]

    def _input(self, images: Tensor) -> Tensor:
        x = (images.float() / 255 - self.mean) / self.std
        x = augment(x) if self.model.training else x
        return x.contiguous(memory_format=torch.channels_last)


def augment(images: Tensor) -> Tensor:
    """Shifts every image by up to `PADDING` pixels, zeros moving in, and flips half of them.

    Args:
        images: [B, C, H, W].

    Returns:
        [B, C, H, W], drawn with torch's global generator.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (PADDING,) * 4)
    top, left = torch.randint(2 * PADDING + 1, (2, count, 1))
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    flipped = torch.rand(count, 1) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    batch = torch.arange(count)[:, None, None]
    # Indices on both sides of a slice put the channels last: [B, H, W, C].
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
