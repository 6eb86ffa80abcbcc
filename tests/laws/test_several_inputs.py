"""Every verb on networks that take several inputs, or token ids."""

import pytest
import several_inputs
from verbs import violations

import spikeport as sp


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's own encoder
@pytest.mark.parametrize("name", several_inputs.SEVERAL)
def test_whatever_converts_does_everything(name):
    model, batch = several_inputs.made(name)
    snn = sp.to_snn(model, [batch], progress=False)
    x = snn.take_apart(batch).x
    assert not [one.message for one in violations(snn, model, x)]
