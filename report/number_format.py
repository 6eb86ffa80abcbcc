"""Numbers as text, for pages and figures."""

from typing import Any

PREFIXES = {p - 5: prefix for p, prefix in enumerate(("f", "p", "n", "µ", "m", "", *"kMGTP"))}
NARROW = "\u202f"  # between a number and its unit


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1]; "–" for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}{NARROW}%".replace("-", "−")


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with a fixed number of digits; "–" for None."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def amount(value: float | None, unit: str = "") -> str:
    """Three digits with an SI prefix: "61.2 M", "38.1 µJ"; "–" for None."""
    if value is None:
        return "–"
    if value == 0:
        return f"0{NARROW}{unit}".rstrip(NARROW)
    digits, exponent = f"{value:.2e}".split("e")
    power = min(max(int(exponent) // 3, -5), 5)
    number = float(digits) * 10.0 ** (int(exponent) - 3 * power)
    return f"{number:.3g}{NARROW}{PREFIXES[power]}{unit}".rstrip(NARROW).replace("-", "−")


def significant(value: float) -> str:
    """Three digits, however small or large: "0.000412", "11600"."""
    return f"{float(f'{value:.3g}'):g}"


def joules(value: float) -> str:
    """An energy, J."""
    return amount(value, "J")


def plain(value: Any) -> str:
    """A number as short as it goes."""
    return f"{value:g}".replace("-", "−")
