"""A network whose input changes from timestep to timestep: the same layers, other roles."""

import copy
from weakref import WeakKeyDictionary

from torch import fx, nn

from spikeport.convert.errors import ConversionError
from spikeport.convert.graph.roles import assign_roles_in_time
from spikeport.convert.graph.spiking_graph import SpikingGraph
from spikeport.convert.simulation.input_encoding import Constant

_VIEWS: "WeakKeyDictionary[nn.Module, tuple[fx.Graph, bool, SpikingGraph]]" = WeakKeyDictionary()


def as_presented(network: SpikingGraph) -> SpikingGraph:
    """The network as its ``encoding`` makes it: itself, if the input is a constant current.

    Otherwise one that shares all its modules, in whose graph nothing is static. It is kept, because
    the native engine's layers are kept with it, and goes when the network goes.

    Raises:
        ConversionError: something before the first neuron has no form in time.
    """
    if isinstance(network.encoding, Constant):
        return network
    known, spiking = _VIEWS.get(network), network.encoding.spiking
    if known is None or known[0] is not network.graph or known[1] != spiking:
        view = copy.copy(network)
        graph = copy.deepcopy(network.graph)
        unsupported = assign_roles_in_time(graph, network, spiking)
        if unsupported:
            raise ConversionError(
                f"encoding '{network.encoding}' makes the input change in time, which has no form "
                "for\n  " + "\n  ".join(unsupported) + "\nUse encoding 'constant'."
            )
        known = _VIEWS[network] = (network.graph, spiking, view)
        view.__dict__["graph"] = graph
    view = known[2]
    graph = view.graph
    view.__dict__.update(network.__dict__)  # backend, info and hooks may have changed
    view.__dict__["graph"] = graph
    return view
