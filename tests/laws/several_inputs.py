"""Networks that take several inputs, or token ids."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, WIDTH = 20, 8


class ImageAndVector(nn.Module):
    """Two inputs of floats, which meet in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.state = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(5, 4)
        self.mixed, self.head = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        seen = F.relu(self.conv(image)).mean((2, 3))
        both = torch.cat([seen, F.relu(self.state(state))], 1)
        return self.head(F.relu(self.mixed(both)))


class Pair(nn.Module):
    """One argument, a pair of images, compared by the same layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        a, b = (self.features(image).mean((2, 3)) for image in pair)
        return self.head(a - b)


class Encoder(nn.Module):
    """Self-attention over token ids with a padding mask, ReLU between the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(12, WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        q, k, v = self.qkv(x).chunk(3, -1)
        hidden = (mask == 0)[:, None, :]
        weights = (q @ k.mT / WIDTH**0.5).masked_fill(hidden, -1e4).softmax(-1)
        x = self.norm(x + self.out(weights @ v))
        return x + self.narrow(F.relu(self.wide(x)))


class Classifier(Encoder):
    """Class scores of the mean over the words that are not masked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Any = None) -> Tensor:
        x = self.encode(input_ids, attention_mask)
        counted = attention_mask.to(x.dtype)[..., None]
        return self.head((x * counted).sum(1) / counted.sum(1))


@dataclass
class Found:
    """Outputs that pytree does not know."""

    words: Tensor
    first: Tensor


class Tagger(Encoder):
    """One input, token ids, and outputs in a dataclass."""

    def forward(self, ids: Tensor) -> Found:
        x = self.encode(ids, torch.ones_like(ids))
        return Found(words=x, first=x[:, 0])


class Both(NamedTuple):
    """Outputs with names."""

    sum: Tensor
    by_word: Tensor


class TextAndVector(Classifier):
    """Floats, ids and a mask that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.state = nn.Linear(4, 3)

    def forward(self, state: Tensor, ids: Tensor, mask: Tensor | None = None) -> Both:  # type: ignore[override]
        mask = torch.ones_like(ids) if mask is None else mask
        found = super().forward(ids, mask)
        return Both(found + F.relu(self.state(state)), self.encode(ids, mask))


class Padded(nn.Module):
    """torch's own encoder with a padding mask, True where there is no word."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, 3)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, ids: Tensor, padding: Tensor) -> Tensor:
        x = self.encoder(self.words(ids), src_key_padding_mask=padding)
        return self.head(x.sum(1) / (~padding).sum(1, keepdim=True))


class Translator(nn.Module):
    """torch's own transformer: a sentence, and as much of another as there is so far."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.transformer = nn.Transformer(WIDTH, 2, 1, 1, 12, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        future = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        x = self.transformer(self.words(source), self.words(target), tgt_mask=future)
        return self.head(x)


def _ids(rows: int = 4, length: int = 7) -> Tensor:
    return torch.randint(1, WORDS, (rows, length))


def _mask(rows: int = 4, length: int = 7) -> Tensor:
    return (torch.arange(length) < torch.randint(3, length + 1, (rows, 1))).long()


# name: how it is made, and a batch
SEVERAL: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "image and vector": (ImageAndVector, lambda: (torch.randn(4, 2, 6, 6), torch.randn(4, 5))),
    "pair": (Pair, lambda: ((torch.randn(4, 2, 6, 6), torch.randn(4, 2, 6, 6)),)),
    "classifier": (Classifier, lambda: {"input_ids": _ids(), "attention_mask": _mask()}),
    "tagger": (Tagger, _ids),
    "padded": (Padded, lambda: (_ids(), _mask() == 0)),
    "translator": (Translator, lambda: (_ids(), _ids(length=4))),
    "text and vector": (TextAndVector, lambda: (torch.randn(4, 4), _ids())),
}


def made(name: str) -> tuple[nn.Module, Any]:
    """A network with random weights, and a batch."""
    make, batch = SEVERAL[name]
    torch.manual_seed(0)
    return make().eval(), batch()
