"""Spikeport converts trained PyTorch networks to spiking neural networks."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, what _HOMES is at run time
    from spikeport.calibration.recipes import RECIPES as RECIPES
    from spikeport.convert.errors import ConversionError as ConversionError
    from spikeport.convert.integers.quantize import quantize as quantize
    from spikeport.convert.network import SpikingNetwork as SpikingNetwork
    from spikeport.convert.neurons.differential import Differential as Differential
    from spikeport.convert.neurons.integrate_and_fire import Neuron as Neuron
    from spikeport.convert.neurons.model import NeuronModel as NeuronModel
    from spikeport.convert.neurons.multi_threshold import MultiThreshold as MultiThreshold
    from spikeport.convert.saving.container import load as load
    from spikeport.convert.saving.container import save as save
    from spikeport.convert.simulation.early_exit import EarlyExit as EarlyExit
    from spikeport.convert.simulation.input_encoding import EventFrames as EventFrames
    from spikeport.convert.simulation.input_encoding import Poisson as Poisson
    from spikeport.convert.simulation.input_encoding import TimeToFirstSpike as TimeToFirstSpike
    from spikeport.convert.tracing.register_op import register_op as register_op
    from spikeport.finetune.trainable_view import trainable as trainable
    from spikeport.finetune.training.plan import FineTuning as FineTuning
    from spikeport.finetune.tuning import finetune as finetune
    from spikeport.report.costing.cost import cost as cost
    from spikeport.report.inspecting.inspection import Inspection as Inspection
    from spikeport.report.operations.energy import EnergyTable as EnergyTable
    from spikeport.report.page.write_report import write_report as write_report
    from spikeport.report.sweeping.curve import Curve as Curve
    from spikeport.report.sweeping.exit_calibration import calibrate_exit as calibrate_exit
    from spikeport.report.sweeping.sweep import sweep as sweep
    from spikeport.zoo.pipeline import inspect as inspect
    from spikeport.zoo.pipeline import load_source as load_source
    from spikeport.zoo.pipeline import to_snn as to_snn

__version__ = "0.1.0"

# Loaded on first use, so that `import spikeport` costs no torch. The names are absolute because
# pytest imports this file a second time, under the name of the checkout's folder.
_HOMES = {
    "RECIPES": "spikeport.calibration.recipes",
    "ConversionError": "spikeport.convert.errors",
    "quantize": "spikeport.convert.integers.quantize",
    "SpikingNetwork": "spikeport.convert.network",
    "Differential": "spikeport.convert.neurons.differential",
    "Neuron": "spikeport.convert.neurons.integrate_and_fire",
    "NeuronModel": "spikeport.convert.neurons.model",
    "MultiThreshold": "spikeport.convert.neurons.multi_threshold",
    "load": "spikeport.convert.saving.container",
    "save": "spikeport.convert.saving.container",
    "EarlyExit": "spikeport.convert.simulation.early_exit",
    "EventFrames": "spikeport.convert.simulation.input_encoding",
    "Poisson": "spikeport.convert.simulation.input_encoding",
    "TimeToFirstSpike": "spikeport.convert.simulation.input_encoding",
    "register_op": "spikeport.convert.tracing.register_op",
    "trainable": "spikeport.finetune.trainable_view",
    "FineTuning": "spikeport.finetune.training.plan",
    "finetune": "spikeport.finetune.tuning",
    "cost": "spikeport.report.costing.cost",
    "Inspection": "spikeport.report.inspecting.inspection",
    "EnergyTable": "spikeport.report.operations.energy",
    "write_report": "spikeport.report.page.write_report",
    "Curve": "spikeport.report.sweeping.curve",
    "calibrate_exit": "spikeport.report.sweeping.exit_calibration",
    "sweep": "spikeport.report.sweeping.sweep",
    "inspect": "spikeport.zoo.pipeline",
    "load_source": "spikeport.zoo.pipeline",
    "to_snn": "spikeport.zoo.pipeline",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:  # each file of the neurons' folder brings its class along
        models = import_module("spikeport.convert.neurons").MODELS if name[0].isupper() else {}
        if name not in models:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = models[name]
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
