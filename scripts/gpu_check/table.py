"""Findings of a section, for people."""

from typing import Any

Found = dict[str, Any]


def lines(name: str, found: Found) -> list[str]:
    """The lines of one section."""
    said = [f"  {found['status']} after {found['seconds']:g} s"]
    for key in ("left_out", "error"):
        if found.get(key):
            said.append(f"  {found[key]}")
    return said + [f"  {line}" for line in _LINES[name](found)]


def _kernels(found: Found) -> list[str]:
    copy = found.get("copy_bytes_per_second")
    said = [f"{found['gpu']}, copy {copy / 1e9:.0f} GB/s"] if copy else []
    return said + [
        f"{row['kernel']:36s} {row['dtype']:8s} {row['bytes_per_second'] / 1e9:8.4g} GB/s, "
        f"{row['of_copy']:.0%} of a copy"
        for row in found.get("rows", [])
    ]


def _tests(found: Found) -> list[str]:
    counted = [f"{count} {kind.lower()}" for kind, count in found.get("outcomes", {}).items()]
    more = [f"{found['errors']} errors of memory"] if found.get("errors") is not None else []
    failed = [f"failed: {name}" for name in found.get("failed", [])]
    return [", ".join(counted + more), *failed] if counted or more else failed


def _products(found: Found) -> list[str]:
    return [
        f"{row['shape']}: "
        + ", ".join(f"{way} {1e3 * s:.3g} ms" for way, s in row["seconds"].items())
        + f"; float off by {row['float_off_by']:.2g}, int8 exact: {row['int8_equal']}"
        for row in found.get("rows", [])
    ]


def _networks(found: Found) -> list[str]:
    said = [f"SpikingJelly: {found['spikingjelly']}"] if "spikingjelly" in found else []
    for model in found.get("models", []):
        said.append(f"{model['model']}, {model['form']}")
        said += [f"  {model[key]}" for key in ("error", "no_spikingjelly") if key in model]
        for row in model["rows"]:
            cells = [f"{name} {cell(each)}" for name, each in row["contenders"].items()]
            said.append(f"  T={row['timesteps']}, batch {row['batch']}: {', '.join(cells)}")
    return said


def cell(found: Found) -> str:
    """A contender's speed, in images per second, and how its output differs from torch's."""
    if "seconds" not in found:
        return str(found.get("left_out", found.get("error")))
    speed = f"{found['images_per_second']:.4g}/s"
    if "equal" not in found:
        return speed
    return speed + (" (equal)" if found["equal"] else f" (off {found['off_by']:.1e})")


def _training(found: Found) -> list[str]:
    ways = found.get("seconds_of_step", {})
    said = [f"{way}: {1e3 * seconds:.4g} ms a step" for way, seconds in ways.items()]
    off = found.get("gradients_off_by")
    return said + ([] if off is None else [f"gradients differ from a CPU's by {off:.2g}"])


_LINES = {
    "kernels": _kernels,
    "tests": _tests,
    "memcheck": _tests,
    "products": _products,
    "networks": _networks,
    "training": _training,
}
