"""A benchmark's numbers for people."""

from typing import Any


def head(machine: dict[str, Any], options: dict[str, Any]) -> str:
    """The machine and the settings, in two lines."""
    peak, copy = machine["peak_adds_per_thread"], machine["copy_bytes_per_second"]
    adds = "no native engine"
    if peak:
        short = machine["peak_short_adds_per_thread"]
        adds = (
            f"{peak / 1e9:.0f} Gadd/s per thread ({machine['path']}), {short / 1e9:.0f} of 16 bits"
        )
    processor = f"{machine['cpu']}, {machine['threads']} thread(s), {adds}"
    return (
        f"{machine['gpu'] or processor}, copy {copy / 1e9:.0f} GB/s; "
        f"torch {machine['torch']}\n"
        f"batch {options['batch_size']}, {options['size']}x{options['size']}, neuron "
        f"'{options['neuron']}', weights '{options['checkpoint']}', thresholds by recipe "
        f"'{options['recipe']}' on {options['calibrated_on']}"
    )


def model_notes(model: dict[str, Any]) -> str:
    """Notes on how each peer was run."""
    lines = [f"\n{model['model']}: {model['neurons']:,} neurons"]
    if model["bits"]:
        lines.append(
            f"  integers: weights of {model['bits']} bits; potentials and sums are whole numbers"
        )
    for name, notes in model["peers"].items():
        best = min(trial["seconds_per_timestep"] for trial in notes["trials"])
        lines.append(
            f"  {name} {notes['version']}: {notes['mode']}, {notes['chunk']} timestep(s) at once "
            f"(quickest of {len(notes['trials'])} settings, {best:.3g} s per timestep in trial); "
            "same weights, thresholds, v0 and T, first layer computed "
            f"{notes['first_layer']}" + "".join(f"; {each}" for each in notes["differences"])
        )
    return "\n".join(lines)


def row_lines(row: dict[str, Any]) -> str:
    """One T of one model: a line for each contender."""
    lines = [
        f"  T={row['timesteps']}: density {row['density']:.3f} (spikes per neuron and timestep), "
        f"{row['synaptic_operations']:.3g} synaptic operations"
    ]
    for name, found in row["contenders"].items():
        parts = [f"    {name:21s} {found['seconds']:9.3f} s"]
        if found["ratio"] is not None:
            parts.append(f"{found['ratio']:6.2f}x {row['base']}")
        if found["as_fast"] is not None:
            parts.append(f"{found['as_fast']:.2f} times as fast as in floats")
        if "images_per_second" in found:
            parts.append(f"{found['images_per_second']:.4g} images/s")
        if found["runs"] < row["repeats"]:
            parts.append(f"{found['runs']} run")
        if found["operations_per_second"] is not None:
            parts.append(f"{found['operations_per_second'] / 1e9:.3g} Gop/s")
            if found["of_peak"] is not None:
                parts.append(f"{found['of_peak']:.0%} of the adders")
        if found["agreement"] is not None:
            parts.append(
                f"output differs from torch's by {found['relative_difference']:.1%}, same class on "
                f"{found['agreement']:.0%}"
            )
        lines.append(", ".join(parts))
    return "\n".join(lines)


def neuron_lines(rows: list[dict[str, Any]]) -> str:
    """The neuron kernels: a line for each form and dtype, with how much slower others are."""
    lines = ["\nneuron kernels: steps (neurons times timesteps), bytes moved, speed against others"]
    for row in rows:
        parts = [
            f"  {row['kernel']:15s} {row['dtype']:8s} {row['steps_per_second'] / 1e9:8.3g} Gstep/s",
            f"{row['bytes_per_step']:.3f} B/step",
            f"{row['bytes_per_second'] / 1e9:.4g} GB/s",
            f"{row['of_copy']:.0%} of a copy",
        ]
        for name, seconds in row["others"].items():
            parts.append(f"{seconds / row['seconds']:.3g}x {name}")
        lines.append(", ".join(parts))
    return "\n".join(lines)


def memory_lines(rows: list[dict[str, Any]]) -> str:
    """Peak memory, a line for each contender and T."""
    return "\n".join(
        f"  memory: {row['name']:21s} T={row['timesteps']}: peak {row['peak_mib']:.0f} MiB, "
        f"{row['before_mib']:.0f} MiB of it before the run"
        for row in rows
    )
