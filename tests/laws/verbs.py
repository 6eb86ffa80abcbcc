"""Whatever converts, does everything: each verb, run on a converted network.

``run_all(network, source, x)`` raises ``Violations`` with one message for each verb that failed:
its name, the network, the exception. A verb may refuse a converted network (ConversionError) only
for a reason in ``MAY_REFUSE``.
"""

import re
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import integer_verbs
import keeping_verbs as keeping
import measuring_verbs as measuring
import running_verbs as running
import stating_verbs as stating
import torch
from subject import Subject
from torch import nn

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.inputs import Input

VERBS: dict[str, Callable[[Subject], None]] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(stating.names, stating.roles, stating.decoding),
        *(running.analog, running.float64, running.backend_torch, running.backend_auto),
        *(running.backend_cpu, running.backend_cuda, running.no_folding, running.convergence),
        *(running.anytime, running.batch_of_one, running.another_size, running.early_exit),
        *(measuring.sweep, measuring.sweep_two_sizes, measuring.cost, measuring.inspect),
        *(measuring.report, measuring.encodings, keeping.save_and_load, keeping.deepcopy),
        *(keeping.pickling, keeping.torch_save, keeping.sweep_loaded, keeping.finetune),
        integer_verbs.integers,
    )
}

# verb -> what its refusal of a converted network may say
MAY_REFUSE = {
    "backend cpu": "sizes of values that change in time",  # "auto" takes torch
    "another size": "decides by the input's shape|as at conversion",
    "encodings": "makes the input change in time|presents one input of floats",
    "integers": "have no form in whole numbers|sums are exact up to",
    "finetune": "fine-tuning takes networks that return class scores|depends on no parameter",
    "sweep two sizes": "decides by the input's shape|as at conversion",
}


@dataclass
class Violation:
    """A verb that failed.

    Attributes:
        verb: its name.
        kind: the exception without names and numbers, by which violations are grouped.
        message: for people.
    """

    verb: str
    kind: str
    message: str = field(repr=False)


class Violations(AssertionError):
    """What ``run_all`` found."""


def run_all(
    network: SpikingNetwork, source: nn.Module, x: Input, *, skip: Collection[str] = ()
) -> None:
    """Run every verb on a converted network.

    Args:
        network: converted from ``source`` and calibrated; not modified.
        source: in eval mode.
        x: [B, C, ...] with B >= 2, or several inputs.
        skip: names of verbs to leave out.

    Raises:
        Violations: naming every verb that failed.
    """
    found = violations(network, source, x, skip=skip)
    if found:
        raise Violations("\n\n".join(one.message for one in found))


def violations(
    network: SpikingNetwork,
    source: nn.Module,
    x: Input,
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
) -> list[Violation]:
    """The verbs that fail; arguments as for ``run_all``."""
    unknown = {*skip, *(only or ())} - set(VERBS)
    assert not unknown, f"no such verbs: {unknown}"
    subject, found = Subject(network, source, x), []
    for name, function in VERBS.items():
        if name in skip or (only is not None and name not in only):
            continue
        try:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)  # without a stack for every GPU
                function(subject)
        except Exception as error:
            allowed = MAY_REFUSE.get(name)
            if isinstance(error, ConversionError) and allowed and re.search(allowed, str(error)):
                continue
            found.append(_violation(name, error, network))
    return found


def _violation(name: str, error: Exception, network: nn.Module) -> Violation:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.name}"
    text = "".join(traceback.format_exception(error)[-4:])
    kind = f"{name}: {type(error).__name__} in {place}: {without_names(str(error))}"
    return Violation(name, kind, f"verb '{name}' fails: {kind}\n{text}\non\n{network}")


def without_names(message: str) -> str:
    """The first line of a message, without numbers and quoted names."""
    line = next(iter(message.strip().splitlines()), "")
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", line)
    line = re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "0", line)
    line = re.sub(r"\[[^\]]*\]|Count\(.*|shape \[.*", "[…]", line)
    return re.sub(r"returns .*", "returns …", line)[:160]
