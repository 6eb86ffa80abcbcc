"""Verbs that keep, copy and train a network."""

import copy
import io
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from agreement import require_same_bits, tensors
from subject import Subject
from torch import Tensor

import spikeport as sp
from spikeport.convert import SpikingNetwork
from spikeport.convert.inputs import call
from spikeport.convert.simulation.early_exit import is_scores


@torch.no_grad()
def save_and_load(case: Subject) -> None:
    """What is loaded has the same numbers and gives the same answers; saved again, the bytes."""
    _require_equal(case, case.loaded, "loaded")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.snn"
        sp.save(case.loaded, again)
        if again.read_bytes() != case.file:
            raise AssertionError("saved again, the file has other bytes")


@torch.no_grad()
def deepcopy(case: Subject) -> None:
    """A deep copy is the same network, and has nothing in common with the first."""
    copied = copy.deepcopy(case.network)
    _require_equal(case, copied, "deepcopy")
    shared = {v.data_ptr() for v in copied.parameters() if v.numel()}
    if shared & {v.data_ptr() for v in case.network.parameters() if v.numel()}:
        raise AssertionError("the copy shares parameters")


@torch.no_grad()
def pickling(case: Subject) -> None:
    """``pickle`` keeps everything."""
    _require_equal(case, pickle.loads(pickle.dumps(case.network)), "pickle")


@torch.no_grad()
def sweep_loaded(case: Subject) -> None:
    """A loaded network can be swept, with the same numbers."""
    both = case.network, case.loaded
    curves = [sp.sweep(network, [case.x], (2,), progress=False).rows for network in both]
    if curves[0] != curves[1]:
        raise AssertionError(f"swept: {curves[0]}; loaded and swept: {curves[1]}")


@torch.no_grad()
def torch_save(case: Subject) -> None:
    """``torch.save`` keeps everything."""
    file = io.BytesIO()
    torch.save(case.network, file)
    file.seek(0)
    _require_equal(case, torch.load(file, weights_only=False), "torch.save")


def _require_equal(case: Subject, other: SpikingNetwork, what: str) -> None:
    state, found = case.network.state_dict(), other.state_dict()
    if state.keys() != found.keys():
        raise AssertionError(f"{what}: parameters {sorted(state.keys() ^ found.keys())}")
    require_same_bits(list(state.values()), [found[name] for name in state], f"{what}: parameters")
    answers, analog = case.answers
    require_same_bits(answers, other(case.x, 3), f"{what}: answers")
    require_same_bits(analog, other.analog(case.x), f"{what}: analog")


def finetune(case: Subject) -> None:
    """One step of training, from labels or from the source, leaves a network that runs."""
    with torch.no_grad():  # it may write into views, which autograd forbids
        outputs = call(case.source, case.x.clone())
    if is_scores(outputs):
        tuned = sp.finetune(case.network, [(case.x, case.labels)], 2, epochs=1, progress=False)
    else:
        plan = sp.FineTuning(select=None if isinstance(outputs, Tensor) else _first)
        tuned = sp.finetune(
            case.network, [case.x], 2, epochs=1, teacher=case.source, plan=plan, progress=False
        )
    if not all(bool(v.isfinite().all()) for v in tensors(tuned(case.x, 2))):
        raise AssertionError("the fine-tuned network's answers are not finite")


def _first(outputs: Any) -> Tensor:
    """The first tensor of a structure."""
    return tensors(outputs)[0]
