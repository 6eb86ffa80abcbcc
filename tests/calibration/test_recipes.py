"""Every recipe: runs on every kind of layer, names itself, is safe to rerun, refuses early."""

import copy

import pytest
import torch
from torch import nn

from spikeport.calibration import RECIPES, calibrate, check_recipe
from spikeport.calibration.local_balancing import LocalThresholdBalancing
from spikeport.convert import KINDS, ConversionError, Neuron, build

CHANGES_WEIGHTS = {"free-lunch-advanced"}


@pytest.fixture(autouse=True)
def _few_iterations(monkeypatch):
    """Local balancing does in 60 iterations on these nets what it takes 1,000 for on real ones."""
    repeated = LocalThresholdBalancing.__call__

    def short(self, network, batches, progress=True):
        repeated(LocalThresholdBalancing(60), network, batches, progress)

    monkeypatch.setattr(LocalThresholdBalancing, "__call__", short)


def converted(model, data, name):
    recipe = RECIPES[name]
    return build(model, data[0], recipe.neuron or KINDS["signed"])


@pytest.mark.parametrize("model", [KINDS["signed"], Neuron(8, 8)])
def test_the_t_that_it_is_calibrated_for_is_the_one_asked_for(model):
    """Though passes look at fewer timesteps, or know T as a number of levels."""
    six = nn.Sequential(nn.Linear(8, 8), nn.ReLU6(), nn.Linear(8, 4)).eval()
    data = [torch.randn(8, 8)]
    snn = build(six, data[0], model)
    calibrate(snn, data, "best", timesteps=48, progress=False)
    assert snn.info["calibrated_for_timesteps"] == 48


def parameters(snn):
    return {name: value.clone() for name, value in snn.named_parameters()}


@pytest.mark.parametrize("name", RECIPES)
def test_runs_on_every_kind_of_layer_and_names_itself(everything, data, name):
    snn = converted(everything, data, name)
    calibrate(snn, data, name, timesteps=8, progress=False)
    assert snn.info["recipe"] == name
    assert snn.info["passes"]
    for_8 = RECIPES[name].for_one_T or name == "default"  # which uses a T that it is given
    assert snn.info["calibrated_for_timesteps"] == (8 if for_8 else None)
    with torch.no_grad():
        assert torch.isfinite(snn(data[0], timesteps=8)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_running_it_twice_is_running_it_once(everything, data, name):
    snn = converted(everything, data, name)
    calibrate(snn, data, name, timesteps=4, progress=False)
    once = parameters(snn)
    calibrate(snn, data, name, timesteps=4, progress=False)
    if name in CHANGES_WEIGHTS:  # starts from the weights of the first run
        assert all(torch.isfinite(value).all() for value in parameters(snn).values())
        return
    for key, value in parameters(snn).items():
        assert torch.allclose(value, once[key], rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize("name", sorted(set(RECIPES) - CHANGES_WEIGHTS))
def test_nothing_is_left_of_the_recipe_before(everything, data, name):
    fresh, used = (converted(everything, data, name) for _ in range(2))
    for before in ("signed-memory", "ftbc"):
        calibrate(used, data, before, timesteps=6, progress=False)
    for snn in (fresh, used):
        calibrate(snn, data, name, timesteps=4, progress=False)
    for key, value in parameters(used).items():
        assert torch.allclose(value, parameters(fresh)[key], rtol=1e-4, atol=1e-6), key


@pytest.mark.parametrize("name", sorted(set(RECIPES) - CHANGES_WEIGHTS))
def test_the_analog_reading_stays_the_source_network(everything, data, name):
    snn = converted(everything, data, name)
    calibrate(snn, data, name, timesteps=4, progress=False)
    with torch.no_grad():
        assert torch.allclose(snn.analog(data[0]), everything(data[0]), atol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_double_precision_stays(everything, data, name):
    images = [batch.double() for batch in data]
    snn = converted(copy.deepcopy(everything).double(), images, name)
    calibrate(snn, images, name, timesteps=4, progress=False)
    assert {value.dtype for value in snn.parameters()} == {torch.float64}
    assert snn(images[0], timesteps=4).dtype == torch.float64


@pytest.mark.parametrize("name", RECIPES)
def test_says_what_it_follows_and_its_latency(name):
    recipe = RECIPES[name]
    assert recipe.source
    assert recipe.latency == "streaming"
    if recipe.for_one_T:
        with pytest.raises(ConversionError, match="timesteps=16"):
            check_recipe(name)
    else:
        check_recipe(name)


# "best" tries a narrower range, too, and takes it if images that it was not fitted to agree
@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"best"}))
def test_a_known_range_is_kept(everything, data, name):
    snn = converted(everything, data, name)
    calibrate(snn, data, name, timesteps=4, progress=False)
    neuron = snn.neurons["relu6"]
    one_spike = 6.0 if name in ("burst", "spicalib") else 6.0 / neuron.max_up
    assert torch.equal(neuron.threshold, torch.full_like(neuron.threshold, one_spike))
