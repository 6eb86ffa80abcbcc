"""Other tools' simulators on our converted networks, for comparison."""

from spikeport.scripts.peers.peer import PEERS, Peer, find

__all__ = ["PEERS", "Peer", "find"]
