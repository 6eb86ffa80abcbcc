"""The call: it helps, it can be stopped, it says what it cannot do."""

import csv
import random
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.finetune.neuron.surrogates import Surrogate
from spikeport.finetune.neuron.trainable import TrainableNeuron
from spikeport.finetune.training.evaluation import evaluate
from spikeport.finetune.training.losses import (
    TET,
    CrossEntropy,
    Distillation,
    InformationLoss,
    MembraneLoss,
    RateMatching,
    SpikeBudget,
)
from spikeport.finetune.training.optimization import Optimization
from tests.finetune.conftest import quick


def accuracy(network, digits, timesteps=2):
    return evaluate(network, digits.test, (timesteps,))[f"accuracy_{timesteps}"]


def of_source(digits):
    [(images, labels)] = digits.test
    return 100 * float((digits.ann(images).argmax(1) == labels).float().mean())


def weights(network):
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def log_of(folder):
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


@pytest.mark.parametrize("method", ["bptt", "sltt"])
def test_digits_at_two_timesteps(method, snn, digits):
    before = weights(snn)
    plan = sp.FineTuning(method=method)
    tuned = sp.finetune(
        snn, digits.train, timesteps=2, epochs=6, teacher=digits.ann, plan=plan, progress=False
    )
    assert torch.equal(weights(snn), before)
    assert accuracy(tuned, digits) > accuracy(snn, digits)
    assert accuracy(tuned, digits) >= of_source(digits) - 1
    start = "finetune(timesteps=2, epochs=6, plan=FineTuning(losses=(TET("
    assert tuned.info["finetuned"].startswith(start)


@pytest.mark.parametrize("norm", ["folded", "batch"])
def test_digits_quantized(norm, snn, digits, tmp_path):
    options = {"plan": sp.FineTuning(method="quantized", norm=norm), "output": tmp_path}
    tuned = sp.finetune(snn, digits.train, 2, 6, digits.ann, progress=False, **options)
    assert accuracy(tuned, digits) > accuracy(snn, digits)
    assert float(log_of(tmp_path)[-1]["train_accuracy"]) > 97


def test_quantized_networks_do_not_run_over_time(snn, digits, monkeypatch):
    monkeypatch.delattr(TrainableNeuron, "fire")
    quick(snn, digits, method="quantized", norm="batch")


def test_mixed_precision(snn, digits, monkeypatch):
    seen, fire = set(), TrainableNeuron.fire

    def watched(neuron, current, state):
        seen.add(current.dtype)
        return fire(neuron, current, state)

    monkeypatch.setattr(TrainableNeuron, "fire", watched)
    quick(snn, digits)
    assert seen == {torch.float32}  # the default on a CPU
    seen.clear()
    plan = sp.FineTuning(mixed_precision=True)
    tuned = sp.finetune(snn, digits.train, 2, 6, digits.ann, plan=plan, progress=False)
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in tuned.state_dict().values()} == {torch.float32}
    assert accuracy(tuned, digits) >= of_source(digits) - 1


@pytest.mark.parametrize("norm", ["folded", "batch"])
@pytest.mark.parametrize(
    ("convolution", "sizes"), [(nn.Conv1d, [9]), (nn.Conv2d, [5, 6]), (nn.Conv3d, [4, 3, 5])]
)
def test_images_of_every_rank(convolution, sizes, norm, converted):
    images = torch.randn(6, 2, *sizes)
    layers = [convolution(2, 4, 3, padding=1), nn.ReLU(), convolution(4, 5, 3, padding=1)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    network = converted(model, images, "if")
    data = [(images, torch.arange(6) % 5)]
    plan = sp.FineTuning(recipe=None, norm=norm)
    tuned = sp.finetune(network, data, 2, 2, plan=plan, progress=False)
    assert tuned(images, 2).shape == (6, 5)
    assert not torch.equal(tuned(images, 2), network(images, 2))


def test_dilated_convolutions_on_small_maps(converted):
    """Torch's read beyond such maps if their channels are innermost, and the process dies."""
    dilated = nn.Conv2d(3, 5, 1, stride=3, padding=2, dilation=2)
    layers = [nn.Conv2d(2, 3, 1), nn.ReLU(), dilated, nn.ReLU(), nn.Conv2d(5, 5, 3, padding=1)]
    model = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images, labels = torch.randn(6, 2, 2, 1), torch.randint(0, 5, (6,))
    network = converted(model, images, "signed")
    plan = sp.FineTuning(recipe=None)
    tuned = sp.finetune(network, [(images, labels)], 2, 1, plan=plan, progress=False)
    assert bool(tuned(images, 2).isfinite().all())


def test_a_teacher_alone_is_enough(snn, digits):
    images = [images for images, _ in digits.train]
    tuned = sp.finetune(snn, images, 2, 4, digits.ann, progress=False)
    assert "Distillation" in tuned.info["finetuned"]
    assert "TET" not in tuned.info["finetuned"]
    assert accuracy(tuned, digits) > accuracy(snn, digits)


def test_it_runs_on_every_backend_and_comes_back_from_a_file(snn, digits, tmp_path):
    tuned = quick(snn, digits)
    images = digits.test[0][0][:50]
    answers = {}
    for backend in ("torch", "cpu"):
        tuned.backend = backend
        answers[backend] = tuned(images, 2)
    torch.testing.assert_close(answers["cpu"], answers["torch"], rtol=1e-3, atol=1e-3)
    sp.save(tuned, tmp_path / "net.snn")
    again = sp.load(tmp_path / "net.snn")
    again.backend = "torch"
    assert torch.equal(again(images, 2), answers["torch"])
    assert again.info["finetuned"] == tuned.info["finetuned"]


def test_every_option_together(snn, digits):
    """Every loss, SGD, an average, a leak that grows, annealing, checkpoints: finite, and used."""
    losses = [TET(), CrossEntropy(), Distillation(), RateMatching(), SpikeBudget(1e-2, 0.1, 2)]
    tuned = quick(
        snn,
        digits,
        timesteps=1,
        anneal_from=3,
        epochs=3,
        teacher=digits.ann,
        losses=[*losses, InformationLoss(1e-3), MembraneLoss(1e-3)],
        optimization=Optimization("sgd", average=0.9),
        surrogate=Surrogate("sigmoid", 2.0, 0.5, detach_reset=False),
        leak=0.9,
        chunk=2,
    )
    assert {round(layer.model.leak, 6) for layer in tuned.neurons.values()} == {0.9}
    assert bool(torch.isfinite(weights(tuned)).all())


def test_parametric_leaks_and_mixed_timesteps(snn, digits):
    tuned = quick(snn, digits, timesteps=(1, 2, 4), leak="learn", epochs=2)
    leaks = [layer.model.leak for layer in tuned.neurons.values()]
    assert all(0 < leak <= 1 for leak in leaks)
    assert min(leaks) < 1


def test_spikes_can_be_had_for_less(snn, digits):
    spikes = []
    for terms in ([TET()], [TET(), SpikeBudget(10.0, 0.1)]):
        tuned = quick(snn, digits, epochs=8, losses=terms)
        spikes.append(evaluate(tuned, digits.test, (2,))["spikes_per_neuron"] / 2)
    assert spikes[1] < 0.8 * spikes[0]
    assert spikes[1] > 0.1  # below the budget they cost nothing


def test_the_log_names_every_term(snn, digits, tmp_path):
    losses = [TET(), Distillation(0.5)]
    quick(
        snn,
        digits,
        epochs=2,
        teacher=digits.ann,
        losses=losses,
        validation=digits.test,
        evaluate_at=(1, 4),
        output=tmp_path,
    )
    rows = log_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        assert float(row["loss"]) == pytest.approx(
            float(row["TET"]) + 0.5 * float(row["Distillation"]), abs=1e-4
        )
        assert {"firing_rate", "train_accuracy", "accuracy_1", "accuracy_2", "accuracy_4"} <= set(
            row
        )


def test_patience_returns_the_best(snn, digits, tmp_path):
    tuned = quick(
        snn,
        digits,
        epochs=30,
        validation=digits.test,
        patience=2,
        optimization=Optimization(rate=3e-2, warm_up=0),
        output=tmp_path,
    )
    found = [float(row["accuracy_2"]) for row in log_of(tmp_path)]
    assert len(found) < 30
    assert accuracy(tuned, digits) == pytest.approx(max(found))


def test_the_seed_decides_and_the_callers_generator_does_not_move(snn, digits):
    batches = torch.utils.data.DataLoader(
        [pair for batch in digits.train[:2] for pair in zip(*batch, strict=True)], 32, shuffle=True
    )
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = sp.finetune(snn, batches, 2, 1, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(weights(sp.finetune(snn, batches, 2, 1, progress=False)), weights(first))
    other = sp.finetune(snn, batches, 2, 1, plan=sp.FineTuning(seed=1), progress=False)
    assert not torch.equal(weights(other), weights(first))


RUN = """
import sys, torch
import spikeport as sp
from torch.utils.data import DataLoader, TensorDataset
from spikeport.finetune.training.optimization import Optimization

def run(folder, output):
    images, labels = torch.load(folder + "/data.pt")
    loader = DataLoader(TensorDataset(images, labels), 32, shuffle=True)
    tuned = sp.finetune(
        sp.load(folder + "/net.snn"), loader, timesteps=2, epochs=8, output=output, progress=False,
        validation=[(images, labels)],
        plan=sp.FineTuning(patience=8, optimization=Optimization(average=0.9)),
    )
    sp.save(tuned, output + "/tuned.snn")
"""
KILLED = RUN + "torch.set_num_threads(1)\nrun(*sys.argv[1:])"


def test_a_killed_run_goes_on_to_the_same_weights(snn, digits, tmp_path):
    sp.save(snn, tmp_path / "net.snn")
    images, labels = (torch.cat(parts) for parts in zip(*digits.train[:6], strict=True))
    torch.save((images, labels), tmp_path / "data.pt")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    space: dict[str, object] = {}
    exec(RUN, space)  # the very lines of the process that is killed
    here = space["run"]
    here(str(tmp_path), str(tmp_path / "whole"))
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), str(killed)])
    while not (killed / "log.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))  # into some later epoch
    assert process.poll() is None
    process.kill()
    process.wait()
    assert len(log_of(killed)) < 8
    here(str(tmp_path), str(killed))
    files = [(tmp_path / name / "tuned.snn").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_a_teacher_that_writes_into_its_input_changes_nothing(small, images):
    class Writing(nn.Linear):
        def forward(self, x):
            return super().forward(x.mul_(100))

    before, batches = images.clone(), [images]
    teacher = Writing(8, 3).eval()
    sp.finetune(small, batches, 2, 1, teacher, validation=batches, progress=False)
    assert torch.equal(images, before)


@pytest.mark.parametrize("clip", [None, 1e-4])
def test_gradients_together_are_clipped(clip, small, images):
    """One step of plain descent is as long as the gradients' norm times the rate."""
    optimization = Optimization("sgd", 1.0, 1.0, weight_decay=0, warm_up=0, clip=clip)
    plan = sp.FineTuning(recipe=None, optimization=optimization)
    pairs = [(images, torch.tensor([0, 1, 2, 0]))]
    tuned = sp.finetune(small, pairs, 2, 1, plan=plan, progress=False)
    before, after = (network.state_dict() for network in (small, tuned))
    moved = sum(float((after[n] - before[n]).square().sum()) for n in after if "weight" in n) ** 0.5
    assert moved > 0
    assert (moved > 1e-2) == (clip is None)
    if clip is not None:
        assert moved <= 1.9 * clip * (1 + 1e-3)  # Nesterov's first step, with momentum 0.9


def test_labels_below_0_are_none(snn, digits, tmp_path):
    """As those of a folder without class folders: the teacher takes their place."""
    unknown = [(images, torch.full_like(labels, -1)) for images, labels in digits.train[:4]]
    alone = [images for images, _ in unknown]
    found = []
    for name, batches in (("unknown", unknown), ("alone", alone)):
        options = {"teacher": digits.ann, "validation": batches, "output": tmp_path / name}
        found.append(weights(sp.finetune(snn, batches, 2, 1, progress=False, **options)))
    assert torch.equal(*found)
    logs = [log_of(tmp_path / name)[0] for name in ("unknown", "alone")]
    assert "train_accuracy" not in logs[0]
    assert logs[0]["accuracy_2"] == logs[1]["accuracy_2"]
    assert float(logs[0]["accuracy_2"]) > 50


def test_the_public_name_is_the_function_whatever_was_imported_first():
    code = "import spikeport as sp\nimport spikeport.finetune.training.losses\nsp.finetune\n"
    code += "import spikeport.finetune.tuning\nfrom spikeport import finetune\n"
    code += "assert sp.finetune is finetune and finetune.__name__ == 'finetune'"
    subprocess.run([sys.executable, "-c", code], check=True)
