"""The one exception of the package, so that callers can tell our refusals from bugs."""


class ConversionError(ValueError):
    """A network, a layer or an input that Spikeport refuses, with the way out in the message."""
