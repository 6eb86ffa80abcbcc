"""Numbers of timesteps, as people give them."""

import operator
from collections.abc import Iterable
from typing import Any

from spikeport.convert.errors import ConversionError


def require_timesteps(timesteps: Any) -> int:
    """The number of timesteps, if it is one; raises ConversionError otherwise."""
    try:
        number = 0 if isinstance(timesteps, bool) else operator.index(timesteps)  # also NumPy's
    except TypeError:
        number = 0
    if number < 1:
        raise ConversionError(f"timesteps is {timesteps!r}; expected an int >= 1")
    return number


def timesteps_to_report(timesteps: Any) -> list[int]:
    """One number of timesteps, or several, in ascending order; raises ConversionError otherwise."""
    several = timesteps if isinstance(timesteps, Iterable) else [timesteps]
    wanted = sorted({require_timesteps(each) for each in several})
    if not wanted:
        raise ConversionError("timesteps is empty; pass for example timesteps=(1, 2, 4, 8)")
    return wanted
