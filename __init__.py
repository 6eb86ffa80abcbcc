"""Spikeport converts trained PyTorch networks to spiking neural networks."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeport.calibration.recipes import RECIPES
    from spikeport.convert.errors import ConversionError
    from spikeport.convert.network import SpikingNetwork
    from spikeport.convert.neurons.differential import Differential
    from spikeport.convert.neurons.integrate_and_fire import Neuron
    from spikeport.convert.neurons.multi_threshold import MultiThreshold
    from spikeport.convert.saving.container import load, save
    from spikeport.convert.simulation.early_exit import EarlyExit
    from spikeport.convert.simulation.input_encoding import EventFrames, Poisson, TimeToFirstSpike
    from spikeport.convert.tracing.register_op import register_op
    from spikeport.finetune.training.plan import FineTuning
    from spikeport.finetune.tuning import finetune
    from spikeport.report.costing.cost import cost
    from spikeport.report.inspecting.inspection import Inspection
    from spikeport.report.operations.energy import EnergyTable
    from spikeport.report.page.write_report import write_report
    from spikeport.report.sweeping.curve import Curve
    from spikeport.report.sweeping.exit_calibration import calibrate_exit
    from spikeport.report.sweeping.sweep import sweep
    from spikeport.zoo.pipeline import inspect, load_source, to_snn

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "ConversionError",
    "Curve",
    "Differential",
    "Inspection",
    "EarlyExit",
    "EnergyTable",
    "EventFrames",
    "FineTuning",
    "MultiThreshold",
    "Neuron",
    "Poisson",
    "SpikingNetwork",
    "TimeToFirstSpike",
    "__version__",
    "inspect",
    "calibrate_exit",
    "cost",
    "finetune",
    "load",
    "load_source",
    "register_op",
    "save",
    "sweep",
    "to_snn",
    "write_report",
]

# Loaded on first use, so that `import spikeport` costs no torch. The names are absolute because
# pytest imports this file a second time, under the name of the checkout's folder.
_HOMES = {
    "RECIPES": "spikeport.calibration.recipes",
    "ConversionError": "spikeport.convert.errors",
    "Curve": "spikeport.report.sweeping.curve",
    "Differential": "spikeport.convert.neurons",
    "Inspection": "spikeport.report.inspecting.inspection",
    "EarlyExit": "spikeport.convert.simulation.early_exit",
    "EnergyTable": "spikeport.report.operations.energy",
    "EventFrames": "spikeport.convert.simulation.input_encoding",
    "FineTuning": "spikeport.finetune.training.plan",
    "MultiThreshold": "spikeport.convert.neurons",
    "Neuron": "spikeport.convert.neurons",
    "Poisson": "spikeport.convert.simulation.input_encoding",
    "SpikingNetwork": "spikeport.convert.network",
    "finetune": "spikeport.finetune.tuning",
    "inspect": "spikeport.zoo.pipeline",
    "TimeToFirstSpike": "spikeport.convert.simulation.input_encoding",
    "calibrate_exit": "spikeport.report.sweeping.exit_calibration",
    "cost": "spikeport.report.costing.cost",
    "load": "spikeport.convert.saving.container",
    "load_source": "spikeport.zoo.pipeline",
    "register_op": "spikeport.convert.tracing.register_op",
    "save": "spikeport.convert.saving.container",
    "sweep": "spikeport.report.sweeping.sweep",
    "to_snn": "spikeport.zoo.pipeline",
    "write_report": "spikeport.report.page.write_report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


class _Package(ModuleType):
    """This package: its attribute ``finetune`` is the function, not the folder of that name.

    Python binds every imported folder to its package. This one would hide the function once any
    file of it has been imported; ``from spikeport.finetune.tuning import …`` does not need it.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "finetune" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
