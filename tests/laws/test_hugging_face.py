"""Networks of Hugging Face convert as they are, with their own arguments and output classes.

In the default run each does the verbs that most depend on the architecture, and a quarter of
the others; together they do all. The slow run does everything on all.
"""

import copy

import pytest
import torch
from verbs import VERBS, violations

import spikeport as sp

pytest.importorskip("transformers", exc_type=ImportError)
from spikeport.scripts.coverage import hugging_face  # noqa: E402
from spikeport.scripts.coverage.row import difference  # noqa: E402

ALWAYS = ("analog", "backend auto", "another size", "save and load")
OTHERS = [name for name in VERBS if name not in ALWAYS]
NAMES = list(hugging_face.NETWORKS)
LANGUAGE = ("gpt2", "qwen2", "llama")


def run(name, only):
    model, batch = hugging_face.made(name)
    snn = sp.to_snn(model, [batch], progress=False)
    x = snn.take_apart({key: value[:2] for key, value in batch.items()}).x
    return [one.message for one in violations(snn, model, x, only=only)]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_converts_does_everything(name):
    assert not run(name, [*ALWAYS, *OTHERS[NAMES.index(name) % 4 :: 4]])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_verbs(name):
    assert not run(name, list(VERBS))


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_analog_reading_is_the_source_on_other_sizes_and_both_have_its_class(name, tmp_path):
    model, batch = hugging_face.made(name)
    snn = sp.to_snn(model, [batch], neuron="8:8", recipe="max", progress=False)
    other = hugging_face.other_sizes(batch)
    assert difference(model, snn, other) < 1e-5
    expected = model(**other)
    sp.save(snn, tmp_path / "a.snn")
    loaded = sp.load(tmp_path / "a.snn")
    for network in (snn, loaded, copy.deepcopy(snn)):
        for found in (network.analog(other), network(other, timesteps=2)):
            assert type(found) is type(expected)
            assert found.keys() == expected.keys()
    every = snn.anytime(other, timesteps=2)
    assert [value.shape[1:] for value in every.values()] == [v.shape for v in expected.values()]


@torch.no_grad()
@pytest.mark.parametrize("name", LANGUAGE)
def test_words_are_written_one_after_the_other(name):
    model, _ = hugging_face.made(name)
    words = torch.randint(3, hugging_face.WORDS, (64, 9), generator=torch.manual_seed(0))
    snn = sp.to_snn(model, [whole(words)], neuron="16:16", recipe="max", progress=False)
    ours = theirs = torch.tensor([[5, 9, 11], [7, 3, 8]])
    for _ in range(6):
        ours = torch.cat([ours, best(snn(whole(ours), timesteps=64))], 1)
        theirs = torch.cat([theirs, best(model(**whole(theirs)))], 1)
    assert torch.equal(ours, theirs)


def whole(ids):
    """A batch of sequences without padding."""
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def best(output):
    """The likeliest next word."""
    return output.logits[:, -1].argmax(-1, keepdim=True)


@torch.no_grad()
def test_a_cache_is_left_out_and_said():
    model, batch = hugging_face.made("gpt2")
    model.config.use_cache = True
    with pytest.warns(UserWarning, match=r"holds \w+ \(DynamicCache\)"):
        snn = sp.to_snn(model, [batch], progress=False)
    assert list(snn(batch, timesteps=2).keys()) == ["logits"]


@torch.no_grad()
def test_padding_changes_no_sentence():
    """A sentence has one embedding, however much padding a batch has behind it."""
    model, batch = hugging_face.made("bert")
    snn = sp.to_snn(model, [batch], neuron="8:8", recipe="max", progress=False)
    snn.double()
    padded = {key: torch.nn.functional.pad(value, (0, 4)) for key, value in batch.items()}
    for read in (snn.analog, lambda x: snn(x, timesteps=8)):
        found, expected = read(padded).pooler_output, read(batch).pooler_output
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_labels_of_a_classifier_are_counted_and_not_passed_on():
    model, batch = hugging_face.made("bert classifier")
    snn = sp.to_snn(model, [batch], neuron="8:8", progress=False)
    with torch.no_grad():
        labels = model(**batch).logits.argmax(1)
    data = [{**batch, "labels": labels}]
    plan = sp.FineTuning(select="logits")
    tuned = sp.finetune(snn, data, timesteps=2, epochs=1, plan=plan, progress=False)
    with torch.no_grad():
        assert tuned({**batch, "labels": labels}, timesteps=2).logits.shape == (4, 3)
    curve = sp.sweep(snn, data, timesteps=4, keep_calibration=True, progress=False)
    assert curve.info["images"] == 4
