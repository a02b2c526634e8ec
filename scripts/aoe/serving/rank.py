"""Which weights of a plan one worker of a server needs, and which of these it reads and combines itself.

A server's workers are called ranks.  vLLM's own loaders give every rank every weight, and the rank drops what it does
not hold.  Here a rank leaves out the routed experts of other ranks (expert parallelism), the layers of other stages
(pipeline parallelism) and the MTP layers that are not served.  What all tensor-parallel ranks need, each of them makes
a part of, for all.
"""

import heapq
from dataclasses import dataclass, field

from aoe.checkpoints.architecture import Architecture, Place
from aoe.checkpoints.patterns import MTP
from aoe.merging.merge import Merge


@dataclass(frozen=True)
class Rank:
    """A rank's place among the ``peers`` that hold the same layers, and what it holds.

    ``layers``: numbers of its layers, or None for all; ``experts``: layer -> numbers of its routed experts, of layers
    whose experts are spread over the ranks; ``elsewhere``: beginnings of the names of weights that other stages hold.
    """

    place: int = 0
    peers: int = 1
    layers: frozenset[int] | None = None
    experts: dict[int, frozenset[int]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()

    def needs(self, weight: str, place: Place) -> bool:
        """Return whether the rank holds a weight, or a part of it, by the weight's name and Place."""
        if weight.startswith(self.elsewhere):
            return False
        if place.layer is None or MTP.match(weight):  # where MTP is a model of its own, its layers begin at 0 there
            return True
        if self.layers is not None and place.layer not in self.layers:
            return False
        return place.expert is None or place.expert in self.experts.get(place.layer, [place.expert])

    def shares(self, place: Place) -> bool:
        """Return whether all peers need a weight that this rank needs."""
        return place.expert is None or place.layer not in self.experts


@dataclass(frozen=True)
class Share:
    """What a rank is given: ``weights``, in the order in which all peers are given theirs; ``makers``: the peer that
    makes a weight for all, of those that all need; ``own``: the weights that the rank makes itself."""

    weights: list[str]
    makers: dict[str, int]
    own: list[str]

    def bytes(self, merge: Merge) -> int:
        """Return the bytes that making the rank's own weights reads: numbers and scales of every parent of a weight."""
        return sum(_bytes(merge, weight) for weight in self.own)


def share_of(rank: Rank, merge: Merge) -> Share:
    """Return the Share of a Rank in a Merge's output weights.

    Weights that all peers need go to the peer that has to read least so far, so that all are done at about one time.
    """
    architecture = Architecture(merge.base.config)
    places = {weight: architecture.place(weight) for weight in merge.base.weights}
    needed = [weight for weight, place in places.items() if rank.needs(weight, place)]
    if rank.peers == 1:
        return Share(needed, {}, needed)
    makers, load = {}, [(0, peer) for peer in range(rank.peers)]
    for weight in needed:
        if rank.shares(places[weight]):
            read, peer = heapq.heappop(load)
            makers[weight] = peer
            heapq.heappush(load, (read + _bytes(merge, weight), peer))
    return Share(needed, makers, [weight for weight in needed if makers.get(weight, rank.place) == rank.place])


def _bytes(merge, weight):
    return len(merge.plan.weights(weight)) * merge.base.layout(weight).size
