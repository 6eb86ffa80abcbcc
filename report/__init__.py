"""Measure a spiking network: accuracy against latency, spikes, operations, energy estimate.

The page is not in this door: ``report.page.write_report`` imports matplotlib and jinja2.
"""

from spikeport.report.costing.cost import Cost, cost
from spikeport.report.costing.neurobench import complexity
from spikeport.report.inspecting.inspect import inspect
from spikeport.report.inspecting.inspection import Inspection
from spikeport.report.operations.energy import (
    CMOS_45NM_FP32,
    CMOS_45NM_INT8,
    MEMORIES,
    TABLES,
    EnergyTable,
)
from spikeport.report.operations.saturation import saturation
from spikeport.report.operations.synapses import Synapses, count_synapses
from spikeport.report.sweeping.curve import Curve, plot_curves
from spikeport.report.sweeping.exit_calibration import calibrate_exit
from spikeport.report.sweeping.sweep import sweep

__all__ = [
    "CMOS_45NM_FP32",
    "CMOS_45NM_INT8",
    "MEMORIES",
    "TABLES",
    "Cost",
    "Curve",
    "EnergyTable",
    "Inspection",
    "Synapses",
    "calibrate_exit",
    "complexity",
    "cost",
    "count_synapses",
    "inspect",
    "plot_curves",
    "saturation",
    "sweep",
]
