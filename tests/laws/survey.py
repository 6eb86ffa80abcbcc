"""Many random networks: how many were tried, refused (by reason), violated (by kind)."""

import sys
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import torch
from cut_down import Refused, failures
from random_networks import random_program
from verbs import without_names


@dataclass
class Survey:
    """What became of the networks.

    Attributes:
        tried: how many.
        refused: reason -> how many.
        violated: kind -> seeds.
    """

    tried: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    violated: dict[str, list[int]] = field(default_factory=dict)

    def add(self, seed: int, skip: Collection[str] = ()) -> None:
        """Try a network."""
        self.tried += 1
        try:
            found = failures(random_program(seed), skip)
        except Refused as error:
            self.refused[reason(str(error))] += 1
            return
        for failure in found:
            self.violated.setdefault(failure.kind, []).append(seed)

    def __str__(self) -> str:
        lines = [f"{self.tried} random networks, {sum(self.refused.values())} refused:"]
        lines += [f"  {count:5} {why}" for why, count in self.refused.most_common()]
        lines += [f"{len({s for seeds in self.violated.values() for s in seeds})} with violations:"]
        kinds = sorted(self.violated.items(), key=lambda item: -len(item[1]))
        lines += [f"  {len(seeds):5} {kind} (seeds {seeds[:6]})" for kind, seeds in kinds]
        return "\n".join(lines)


def reason(message: str) -> str:
    """A refusal without names and numbers; of unsupported operations the names."""
    lines = message.splitlines()
    if "no spiking form:" in lines[0]:
        return "no spiking form: " + ", ".join(sorted({line.split("'")[1] for line in lines[1:-1]}))
    return without_names(message)


def survey(seeds: Iterable[int], skip: Collection[str] = ()) -> Survey:
    """Try the networks of some seeds."""
    found = Survey()
    for seed in seeds:
        found.add(seed, skip)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = Survey()
    for seed in range(int(sys.argv[1]), int(sys.argv[2])):
        print("seed", seed, flush=True)
        found.add(seed)
    print(found)
