"""What a random network does wrong, and the shortest one that does it too."""

import re
import traceback
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from random_networks import Program, Statement, mentions
from torch.utils import _pytree as pytree
from verbs import Violation, violations, without_names

import spikeport as sp
from spikeport.convert import ConversionError


class Refused(Exception):
    """``to_snn`` refused a network, as it may."""


def failures(
    program: Program, skip: Collection[str] = (), only: Collection[str] | None = None
) -> list[Violation]:
    """Convert a network and run the verbs.

    Raises:
        Refused: it is refused by ``to_snn``.
    """
    source, x = program.network(), program.input()
    given = x.clone()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* never fires on the calibration data")
            torch.manual_seed(0)
            network = sp.to_snn(source, [x], progress=False)
    except ConversionError as error:
        raise Refused(str(error)) from error
    except Exception as error:
        return [_raw(error)]
    found = violations(network, source, x, skip=skip, only=only)
    if not torch.equal(given, x):
        found.append(Violation("to_snn", "to_snn: the input was changed", program.text))
    return found


def _raw(error: Exception) -> Violation:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.name}"
    kind = f"to_snn: {type(error).__name__} in {place}: {without_names(str(error))}"
    return Violation("to_snn", kind, "".join(traceback.format_exception(error)[-5:]))


def cut_down(program: Program, failure: Violation) -> Program:
    """The shortest network found that fails in the same way."""
    only = None if failure.verb == "to_snn" else [failure.verb]
    while True:
        for shorter in _shorter(program):
            try:
                shorter.network()(shorter.input())
                found = failures(shorter, only=only or ["analog"])
            except Exception:  # it does not run, or is refused
                continue
            if any(other.kind == failure.kind for other in found):
                program = shorter
                break
        else:
            return program


def _shorter(program: Program) -> Iterator[Program]:
    """Programs that lack one line, or return an earlier variable."""
    for count in range(len(program.statements)):
        kept = program.statements[: count + 1]
        if len(kept) < len(program.statements) or program.result != kept[-1].variable:
            yield replace(program, statements=kept, result=kept[-1].variable)
    for place in reversed(range(len(program.statements))):
        gone = program.statements[place]
        for name in ("x", *(s.variable for s in program.statements[:place])):
            if mentions(gone.expression, name):
                yield _without(program, place, name)


def _without(program: Program, place: int, instead: str) -> Program:
    """Without a line: whoever read its variable reads another one."""
    name = re.compile(rf"\b{program.statements[place].variable}\b")
    rest = [
        Statement(s.variable, name.sub(instead, s.expression))
        for s in program.statements[place + 1 :]
    ]
    result = name.sub(instead, program.result)
    return replace(program, statements=(*program.statements[:place], *rest), result=result)


__all__ = ["Refused", "cut_down", "failures", "pytree"]
