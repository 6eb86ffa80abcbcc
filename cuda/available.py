"""Whether the GPU backend can run here."""


def why_unavailable() -> str | None:
    """None if CuPy imports and sees a device, otherwise the reason and the way out."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            return f"CuPy does not import ({_first_line(error)}): reinstall it."
        return (
            "CuPy is not installed: run pip install 'spikeport[cuda]' (CUDA 13) "
            "or pip install cupy-cuda12x (CUDA 12)."
        )
    except ImportError as error:  # e.g. a library of the CUDA toolkit is missing
        return f"CuPy does not import ({_first_line(error)}): reinstall it for your CUDA version."
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no CUDA device ({_first_line(error)}): check nvidia-smi."
    if count == 0:
        return "CuPy finds no CUDA device: check CUDA_VISIBLE_DEVICES and nvidia-smi."
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".:") if text else type(error).__name__
