"""Trains a small image classifier in memory, on a CPU, and goes on where it was stopped."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from spikeport.finetune.training.epochs import EpochTraining

PADDING = 4  # of the random crop, on every side
EVALUATION_BATCH = 500

Split = tuple[Tensor, Tensor]  # images, uint8 [N, 3, H, W], and labels, int64 [N]


@dataclass(frozen=True)
class TrainingRecipe:
    """Settings that decide the weights, with the data, the model's name and torch's version.

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


class CifarTraining(EpochTraining):
    """The training of a model from random weights.

    Args:
        model: in any mode; trained in place, with torch's global generator.
        recipe: how.
        train: images to learn from.
        test: images to measure on after every epoch; nothing is chosen by them.
        normalization: (mean, std) [3] of pixels in [0, 1].
        compiled: train through torch.compile, which needs a C++ compiler and a minute, and makes
            a step of a ResNet a quarter to a half faster.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: TrainingRecipe,
        train: Split,
        test: Split,
        normalization: tuple[Tensor, Tensor],
        compiled: bool = False,
    ) -> None:
        self._forward = torch.compile(model) if compiled else model
        self.recipe = recipe
        self.train, self.test = train, test
        self.mean, self.std = (part.view(3, 1, 1) for part in normalization)
        self.compiled = compiled
        self._steps = max(1, len(train[0]) // recipe.batch_size)  # per epoch
        optimizer = torch.optim.SGD(
            model.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe.learning_rate,
            epochs=recipe.epochs,
            steps_per_epoch=self._steps,
            pct_start=recipe.warm_up,
            cycle_momentum=False,
        )
        network = model.to(memory_format=torch.channels_last)
        super().__init__(network, optimizer, schedule, recipe.epochs, recipe.seed)

    def epoch(self) -> dict[str, float]:
        """Go over the training images once, and measure.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        loss, accuracy = self._trained_epoch()
        return {
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_accuracy": self.evaluate(),
        }

    def evaluate(self) -> float:
        """Accuracy on the test images, in percent."""
        self.network.eval()
        images, labels = self.test
        right = 0
        with torch.inference_mode():
            for start in range(0, len(images), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                scores = self.network(self._input(images[part]))
                right += int((scores.argmax(1) == labels[part]).sum())
        return 100 * right / len(images)

    def _trained_epoch(self) -> tuple[float, float]:
        self.network.train()
        total = right = seen = 0.0
        with tqdm(self._batches(), f"epoch {len(self.rows) + 1}", self._steps) as bar:
            for images, labels in bar:
                scores = self._forward(self._input(images))
                loss = F.cross_entropy(scores, labels, label_smoothing=self.recipe.label_smoothing)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
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
        x = augment(x) if self.network.training else x
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
