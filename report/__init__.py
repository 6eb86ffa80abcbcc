"""Measure a spiking network: accuracy against latency, spikes, operations, energy estimate."""

from spikeport.report.curve import Curve
from spikeport.report.energy import CMOS_45NM_FP32, EnergyTable
from spikeport.report.inspecting import inspect
from spikeport.report.inspection import Inspection
from spikeport.report.plot import plot_curves
from spikeport.report.share import Share, spike_driven
from spikeport.report.sweeping import sweep
from spikeport.report.synapses import Synapses, count_synapses

__all__ = [
    "CMOS_45NM_FP32",
    "Curve",
    "EnergyTable",
    "Inspection",
    "Share",
    "Synapses",
    "count_synapses",
    "inspect",
    "plot_curves",
    "spike_driven",
    "sweep",
]
