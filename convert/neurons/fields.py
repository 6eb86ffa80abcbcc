"""Checks of the values that a neuron model, an encoding or an exit is made with."""

from spikeport.convert.errors import ConversionError

MOST_SPIKES = 2**23  # in one timestep: float32 holds every whole number up to twice as many


def require_integer(
    owner: str, name: str, value: object, least: int, most: int | None = None
) -> None:
    """Raise ConversionError unless a field holds an int within [least, most]."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        expected = f">= {least}" if most is None else f"from {least} to {most}"
        raise ConversionError(f"{owner}.{name} is {value!r}; expected an int {expected}")


def require_choice(owner: str, name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ConversionError unless a field holds one of a few values."""
    if value not in choices or isinstance(value, bool):
        raise ConversionError(
            f"{owner}.{name} is {value!r}; expected one of {', '.join(map(repr, choices))}"
        )


def require_flag(owner: str, name: str, value: object) -> None:
    """Raise ConversionError unless a field holds True or False."""
    if not isinstance(value, bool):
        raise ConversionError(f"{owner}.{name} is {value!r}; expected True or False")


def require_factor(owner: str, name: str, value: object) -> None:
    """Raise ConversionError unless a field holds a number in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise ConversionError(f"{owner}.{name} is {value!r}; expected 0 < {name} <= 1")
