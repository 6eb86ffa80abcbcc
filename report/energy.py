"""Energy estimates: a table of energies per operation, times counted operations."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EnergyTable:
    """Energy of one synaptic operation; arithmetic only, no memory access.

    Attributes:
        name: technology and number format.
        source: where the numbers are from.
        ac: one accumulate, pJ.
        mac: one multiply-accumulate, pJ.
    """

    name: str
    source: str
    ac: float
    mac: float

    def microjoules(self, acs: float, macs: float) -> float:
        """Estimated energy, µJ."""
        return (acs * self.ac + macs * self.mac) * 1e-6


CMOS_45NM_FP32 = EnergyTable(
    name="45 nm CMOS, 32-bit float",
    source="Horowitz 2014, 'Computing's energy problem (and what we can do about it)', ISSCC: "
    "add 0.9 pJ, multiply 3.7 pJ",
    ac=0.9,
    mac=4.6,
)
