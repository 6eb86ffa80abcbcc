"""Numbers as text, for a page."""

from typing import Any

from matplotlib.ticker import EngFormatter

NARROW = "\u202f"  # between a number and its unit


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1]; "–" for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}{NARROW}%"


def decimal(value: float | None, digits: int = 2) -> str:
    """With a fixed number of digits; "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def amount(value: float | None, unit: str = "") -> str:
    """Three digits with an SI prefix: "61.2 M", "38.1 µJ"; "–" for None."""
    if value is None:
        return "–"
    if value == 0:
        return f"0{NARROW}{unit}".rstrip(NARROW)
    return EngFormatter(unit, sep=NARROW)(float(f"{value:.3g}")).strip(NARROW)


def joules(value: float) -> str:
    """An energy, J."""
    return amount(value, "J")


def plain(value: Any) -> str:
    """As short as it goes."""
    return f"{value:g}".replace("-", "−")
