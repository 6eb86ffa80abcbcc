"""Energy estimates: tables of energies per operation and per access, times what was counted."""

import math
from dataclasses import dataclass, replace

from spikeport.convert import ConversionError, SpikingNetwork
from spikeport.convert.simulation.precision import is_integer


@dataclass(frozen=True)
class Memory:
    """The memory of weights, inputs and membrane potentials.

    Attributes:
        name: kind and size.
        source: where the number is from.
        byte: reading or writing one byte, pJ.
    """

    name: str
    source: str
    byte: float

    def __post_init__(self) -> None:
        if not 0 <= self.byte < math.inf:
            raise ConversionError(f"Memory.byte is {self.byte!r}; expected pJ per byte, at least 0")


@dataclass(frozen=True)
class EnergyTable:
    """Energy of one synaptic operation.

    Attributes:
        name: technology and number format.
        source: where the numbers are from.
        ac: one accumulate, pJ.
        mac: one multiply-accumulate, pJ.
        width: bytes of one weight or input.
        memory: what its accesses cost; None counts arithmetic only.
        potential: bytes of a membrane potential; None: as wide as a weight.
    """

    name: str
    source: str
    ac: float
    mac: float
    width: int = 4
    memory: Memory | None = None
    potential: int | None = None

    def __post_init__(self) -> None:
        for name in ("ac", "mac"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConversionError(
                    f"EnergyTable.{name} is {value!r}; expected pJ per operation, at least 0"
                )

    def microjoules(self, acs: float, macs: float, updates: float = 0.0) -> float:
        """Estimated energy of the operations, and with a memory of their accesses, µJ.

        Nothing is kept in registers (after Lemaire et al. 2022, "An Analytical Estimation of
        Spiking Neural Networks Energy Efficiency"): an accumulate reads a weight and a potential
        and writes the potential; a multiply-accumulate reads a weight and an input; an update of a
        neuron reads and writes its potential, or writes its output.

        Args:
            acs: accumulates.
            macs: multiply-accumulates.
            updates: neurons times timesteps.
        """
        arithmetic = acs * self.ac + macs * self.mac
        if self.memory is None:
            return arithmetic * 1e-6
        potential = self.width if self.potential is None else self.potential
        moved = (acs + 2 * macs) * self.width + 2 * (acs + updates) * potential
        return (arithmetic + moved * self.memory.byte) * 1e-6

    def with_memory(self, memory: Memory | None) -> "EnergyTable":
        """The table with accesses to a memory, or without."""
        return replace(self, memory=memory)

    def __str__(self) -> str:
        text = f"{self.name} ({self.ac} pJ per AC, {self.mac} pJ per MAC; {self.source})"
        if self.memory is None:
            return f"{text}; arithmetic only, an estimate"
        return (
            f"{text}; with memory accesses, without reuse: {self.memory.name} "
            f"({self.memory.byte:g} pJ per byte; {self.memory.source}); an estimate"
        )


_HOROWITZ = "Horowitz 2014, 'Computing's energy problem (and what we can do about it)', ISSCC"

CMOS_45NM_FP32 = EnergyTable(
    name="45 nm CMOS, 32-bit float",
    source=f"{_HOROWITZ}: add 0.9 pJ, multiply 3.7 pJ",
    ac=0.9,
    mac=4.6,
)
CMOS_45NM_INT8 = EnergyTable(
    name="45 nm CMOS, 8-bit integer",
    source=f"{_HOROWITZ}: add 0.03 pJ, multiply 0.2 pJ",
    ac=0.03,
    mac=0.23,
    width=1,
)


def whole_numbers(potential_bits: int) -> EnergyTable:
    """The table of an integer network: adds as wide as the potential, between those of 8 and 32
    bits; what it still multiplies (its input, analog parts) costs what floats cost.

    Args:
        potential_bits: width of a membrane potential.
    """
    add = round(0.03 + (0.1 - 0.03) * (potential_bits - 8) / (32 - 8), 3)
    return EnergyTable(
        name=f"45 nm CMOS, {potential_bits}-bit integer adds and 32-bit float multiplications",
        source=f"{_HOROWITZ}: add of 8 bits 0.03 pJ, of 32 bits 0.1 pJ, linear in between",
        ac=add,
        mac=CMOS_45NM_FP32.mac,
        width=1,
        potential=potential_bits // 8,
    )


def table_of(network: SpikingNetwork) -> EnergyTable:
    """The table for a network's own numbers: floats, or whole numbers of some width."""
    bits = network.info.get("integer", {}).get("potential_bits") if is_integer(network) else None
    return CMOS_45NM_FP32 if bits is None else whole_numbers(bits)


def of_source(network: SpikingNetwork, table: EnergyTable) -> EnergyTable:
    """The table for the source of a network that is charged by another: its numbers are floats."""
    own = table.with_memory(None) == table_of(network)
    return CMOS_45NM_FP32.with_memory(table.memory) if own else table


TABLES = {"45nm-fp32": CMOS_45NM_FP32, "45nm-int8": CMOS_45NM_INT8}

MEMORIES = {
    "sram-8kb": Memory("8 KB SRAM", f"{_HOROWITZ}: 10 pJ per 64 bits", 1.25),
    "sram-32kb": Memory("32 KB SRAM", f"{_HOROWITZ}: 20 pJ per 64 bits", 2.5),
    "sram-1mb": Memory("1 MB SRAM", f"{_HOROWITZ}: 100 pJ per 64 bits", 12.5),
    "dram": Memory("DRAM", f"{_HOROWITZ}: 1.3 nJ per 64 bits, the lower end", 162.5),
}
