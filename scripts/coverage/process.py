"""One step of the coverage sweep on one model, in a process of its own."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from spikeport.scripts.coverage.measure import convert, simulate
from spikeport.scripts.coverage.models import Entry, survey

STEPS: dict[str, Callable[[Entry, dict[str, Any]], dict[str, Any]]] = {
    "survey": lambda entry, known: survey(entry),
    "convert": convert,
    "simulate": simulate,
}


class Nursery:
    """Starts processes that have torch and timm loaded, and ends those that take too much.

    Args:
        seconds: each may take.
        memory: GiB that each may allocate.
    """

    def __init__(self, seconds: int, memory: float) -> None:
        self.seconds, self.memory = seconds, int(memory * 2**30)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])

    def run(self, step: str, entry: Entry, known: dict[str, Any]) -> dict[str, Any]:
        """Findings of a step, ``{step}_error`` ("" if it went well) and ``{step}_seconds``."""
        begin = time.perf_counter()
        here, there = self.context.Pipe(duplex=False)
        child = self.context.Process(target=_child, args=(there, step, entry, known, self.memory))
        child.start()
        there.close()
        try:
            found = here.recv() if here.poll(self.seconds) else None
            error = f"stopped after {self.seconds} s"
        except EOFError:
            child.join()
            found, error = None, f"the process died ({child.exitcode})"
        child.kill()
        child.join()
        found = found or {f"{step}_error": error}
        return found | {f"{step}_seconds": round(time.perf_counter() - begin, 2)}


def _child(answer: Connection, step: str, entry: Entry, known: dict[str, Any], memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        found = {f"{step}_error": "", **STEPS[step](entry, known)}
    except Exception as cause:  # a model may fail in any way
        found = {f"{step}_error": f"{type(cause).__name__}: {cause}"[:2000]}
    answer.send(found)
