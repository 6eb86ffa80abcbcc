"""The part between the last spikes and the output, evaluated once for each answer.

Layers that commute with the mean over time (a global pool and a linear classifier) give the decoded
output when they act on the mean of what they receive over timesteps 1..T: once, not T times.
"""

from torch import fx

from spikeport.convert.graph.roles import IN_TIME


class Readout:
    """The last layers of a graph, as far as they may wait until an answer is wanted.

    Args:
        graph: of a SpikingNetwork.

    Attributes:
        inside: nodes that are not evaluated at each timestep.
        nodes: what to evaluate for an answer, in order: those inside and sizes that they need.
        sources: the nodes whose means over time it reads.
    """

    def __init__(self, graph: fx.Graph) -> None:
        nodes = list(graph.nodes)
        self.inside = _waiting(nodes)
        if not self._find(nodes):  # some size is that of a value from further up
            self.inside = set()
            self._find(nodes)

    def _find(self, nodes: list[fx.Node]) -> bool:
        """Set the other attributes; returns whether all that the nodes need is at hand."""
        needed = set(self.inside)
        read: dict[fx.Node, None] = {}  # in order
        sized: set[fx.Node] = set()
        for node in reversed(nodes):
            if node.op != "output" and node not in needed:
                continue
            for source in node.all_input_nodes:
                if source.meta["role"] == "shape":
                    needed.add(source)
                elif source.meta["role"] in IN_TIME and node.meta["role"] == "shape":
                    sized.add(source)
                elif source.meta["role"] in IN_TIME and source not in self.inside:
                    read[source] = None
        self.sources = list(read)
        self.nodes = [node for node in nodes if node in needed]
        return sized <= {*self.inside, *read}


def _waiting(nodes: list[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    for node in reversed(nodes):
        stateless = (
            node.meta["role"] in ("weighted", "linear", "shape") and "guard" not in node.meta
        )
        users = [user for user in node.users if user.op != "output"]
        if stateless and node.users and all(user in found for user in users):
            found.add(node)
    return found
