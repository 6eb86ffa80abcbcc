"""Measure a spiking network: accuracy against latency, spikes, operations, energy estimate."""

from spikeport.report.complexity import complexity
from spikeport.report.cost import Cost, cost
from spikeport.report.curve import Curve
from spikeport.report.energy import CMOS_45NM_FP32, CMOS_45NM_INT8, MEMORIES, TABLES, EnergyTable
from spikeport.report.exit_calibration import calibrate_exit
from spikeport.report.inspecting import inspect
from spikeport.report.inspection import Inspection
from spikeport.report.page import write_report
from spikeport.report.plot import plot_curves
from spikeport.report.share import Share, spike_driven
from spikeport.report.sweeping import sweep
from spikeport.report.synapses import Synapses, count_synapses

__all__ = [
    "CMOS_45NM_FP32",
    "CMOS_45NM_INT8",
    "MEMORIES",
    "TABLES",
    "Cost",
    "Curve",
    "EnergyTable",
    "Inspection",
    "Share",
    "Synapses",
    "calibrate_exit",
    "complexity",
    "cost",
    "count_synapses",
    "inspect",
    "plot_curves",
    "spike_driven",
    "sweep",
    "write_report",
]
