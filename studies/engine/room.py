"""Where there is room: what the nodes of a cluster have left, by what we have placed on them."""

from collections.abc import Mapping

Amounts = Mapping[str, float]


class Room:
    """Places demands on nodes, first fit. Ray places for itself; what counts here is how much fits at a time."""

    def __init__(self) -> None:
        self._free: dict[str, dict[str, float]] = {}
        self._placed: dict[str, tuple[str, Amounts]] = {}
        """Node and demand by holder."""

    def see(self, nodes: Mapping[str, Amounts]) -> None:
        """The nodes that are alive, by id, with all that each has; what was placed on one that is gone is placed nowhere."""
        self._free = {node: dict(amounts) for node, amounts in nodes.items()}
        for node, demand in self._placed.values():
            if node in self._free:
                self._take(node, demand, +1)

    def place(self, holder: str, demand: Amounts) -> bool:
        """Take room for a holder; whether there was any."""
        fits = (node for node, free in self._free.items() if all(free.get(name, 0) >= amount for name, amount in demand.items()))
        node = next(fits, None)
        if node is None:
            return False
        self._take(node, demand, +1)
        self._placed[holder] = (node, demand)
        return True

    def leave(self, holder: str) -> None:
        """What a holder had is free again."""
        node, demand = self._placed.pop(holder, ("", {}))
        if node in self._free:
            self._take(node, demand, -1)

    def has_any(self, demand: Amounts) -> bool:
        """Whether so much is free somewhere."""
        return any(all(free.get(name, 0) >= amount for name, amount in demand.items()) for free in self._free.values())

    def _take(self, node: str, demand: Amounts, sign: int) -> None:
        for name, amount in demand.items():
            self._free[node][name] = round(self._free[node].get(name, 0) - sign * amount, 4)
