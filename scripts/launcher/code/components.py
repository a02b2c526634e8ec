"""Strongly connected components of a directed graph, by Tarjan's algorithm."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def components(nodes: Iterable[T], edges: Callable[[T], list[T]]) -> Iterator[list[T]]:
    """Yield the strongly connected components of all that can be reached from ``nodes``, targets before sources."""
    order: dict[T, int] = {}
    low: dict[T, int] = {}
    path: list[T] = []
    on_path: set[T] = set()
    for start in nodes:
        stack = [] if start in order else [(start, iter(edges(start)))]
        if stack:
            order[start] = low[start] = len(order)
            path.append(start)
            on_path.add(start)
        while stack:
            node, ahead = stack[-1]
            for target in ahead:
                if target not in order:
                    order[target] = low[target] = len(order)
                    path.append(target)
                    on_path.add(target)
                    stack.append((target, iter(edges(target))))
                    break
                if target in on_path:
                    low[node] = min(low[node], order[target])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
                if low[node] == order[node]:
                    found = path[path.index(node) :]
                    del path[-len(found) :]
                    on_path.difference_update(found)
                    yield found
