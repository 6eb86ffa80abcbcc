"""Refusals of the call: what does not go together, and data of another kind."""

import copy

import pytest
import torch
from torch import nn

import spikeport as sp
from spikeport.convert import ConversionError
from spikeport.finetune.training.losses import (
    TET,
    CrossEntropy,
    Distillation,
    MembraneLoss,
    RateMatching,
)
from spikeport.finetune.training.optimization import Optimization
from tests.finetune.conftest import quick


def test_quantized_neurons_have_a_staircase(digits):
    snn = sp.to_snn(digits.ann, digits.train, sp.Neuron(leak=0.9), progress=False)
    with pytest.raises(ConversionError, match=r"layer '1': method=\"quantized\" needs neurons"):
        quick(snn, digits, method="quantized")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"method": "rtrl"}, "method is 'rtrl'"),
        ({"method": "sltt", "chunk": 1}, "chunk=1 goes with"),
        ({"leak": 1.5}, "leak is 1.5"),
        ({"leak": "learn", "method": "ottt"}, 'leak="learn" needs'),
        ({"leak": 0.9, "method": "quantized"}, "leak=0.9 needs time"),
        ({"losses": [MembraneLoss()], "method": "quantized"}, "MembraneLoss read.* potentials"),
        ({"losses": [Distillation()]}, "Distillation need.* teacher; pass teacher="),
        ({"losses": []}, "expected one or more"),
        ({"patience": 1}, "needs validation"),
        ({"teacher": nn.Linear(2, 2)}, r"teacher\.eval\(\)"),
        ({"recipe": "nonsense"}, "unknown recipe"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, snn, digits):
    with pytest.raises(ConversionError, match=message):
        quick(snn, digits, **options)


def test_trained_weights_give_no_activations_of_the_source(snn, digits):
    tuned = quick(snn, digits)
    with pytest.raises(ConversionError, match="RateMatching need.* were fine-tuned before"):
        quick(tuned, digits, losses=[CrossEntropy(), RateMatching()])


def test_unusable_data_are_refused(snn, digits):
    with pytest.raises(ConversionError, match="no labels and there is no teacher"):
        sp.finetune(snn, [digits.test[0][0]], 2, progress=False)
    with pytest.raises(ConversionError, match="read only once"):
        sp.finetune(snn, iter(digits.train), 2, progress=False)
    with pytest.raises(ConversionError, match="takes a SpikingNetwork"):
        sp.finetune(digits.ann, digits.train, 2, progress=False)


def test_an_input_that_is_no_constant_current_is_refused(snn, digits):
    network = copy.deepcopy(snn)
    network.encoding = sp.Poisson(seed=1)
    with pytest.raises(ConversionError, match="presented as Poisson spikes.*snn.encoding = 'const"):
        quick(network, digits)


@pytest.mark.parametrize(
    ("head", "shape"), [(nn.Linear(4, 1), "4, 1"), (nn.Flatten(0), "16"), (nn.Identity(), None)]
)
def test_outputs_that_are_no_class_scores_need_a_loss_of_their_own(head, shape, converted):
    if shape is None:  # a map
        model, images, shape = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()), (4, 2, 5, 5), "2, 3"
    else:
        model, images = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), head), (4, 8)
    images = torch.randn(images)
    network = converted(model, images, "if")
    data = [(images, torch.zeros(4).long())]
    with pytest.raises(ConversionError, match="loss is yours to choose"):
        sp.finetune(network, data, 2, 1, progress=False)
    with pytest.raises(ConversionError, match="TET need.* answers that are class scores"):
        sp.finetune(network, data, 2, 1, plan=sp.FineTuning(losses=TET()), progress=False)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (nn.Linear(8, 4).eval(), r"with shape \[2, 4\], .* with class scores of shape \[2, 3\]"),
        (lambda x: {"logits": x}, r"with shape \[2, 8\], .* with class scores of shape \[2, 3\]"),
        (lambda x: {"a": x[:, :3], "b": x[:, :3]}, r"with a dict with \['a', 'b'\].*select="),
    ],
)
def test_a_teacher_of_another_kind_is_refused(teacher, message, small, images):
    with pytest.raises(ConversionError, match=message):
        sp.finetune(small, [images], 2, 1, teacher, progress=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "label 3, but the network has 3 classes, 0 to 2"),
        (torch.zeros(3).long(), "3 labels for 4 inputs"),
        (torch.rand(4), "loss is yours to choose|has no labels, which TET need"),
        (["a"] * 4, "loss is yours to choose|has no labels, which TET need"),
    ],
)
def test_labels_of_another_kind_are_refused(labels, message, small, images):
    with pytest.raises(ConversionError, match=message):
        sp.finetune(small, [(images, labels)], 2, 1, progress=False)
    good = (images, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ConversionError, match=message):
        sp.finetune(small, [good, (images, labels)], 2, 1, progress=False)


def test_validation_without_labels_needs_a_teacher(snn, digits):
    images, labels = digits.test[0]
    for validation in (images, (images, torch.full_like(labels, -1))):
        with pytest.raises(ConversionError, match="validation data has no labels and there is no"):
            quick(snn, digits, validation=[validation])


def test_batches_with_and_without_labels_are_refused(snn, digits):
    images, labels = digits.train[0]
    with pytest.raises(ConversionError, match="a batch has no labels, which TET need"):
        sp.finetune(snn, [(images, labels), images], 2, 1, digits.ann, progress=False)
    labels = labels.clone()
    labels[3] = -100
    with pytest.raises(ConversionError, match="has the label -100 beside others"):
        sp.finetune(snn, [(images, labels)], 2, 1, digits.ann, progress=False)


def test_a_loss_that_explodes_is_named(snn, digits):
    with pytest.raises(ConversionError, match="learning rate below"):
        quick(snn, digits, epochs=5, optimization=Optimization(rate=1e30, clip=None, warm_up=0))
