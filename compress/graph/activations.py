"""How much memory a graph's intermediate tensors need at once.

Defined on the graph, not measured: nodes run in its order; a node's outputs come to life when it runs, and live until
the last node that reads them has run, or to the end where they are outputs of the graph. The most that live at once is
the figure. A view (Reshape and its kin) is no tensor of its own; weights, what is computed from them alone, and inputs
are not counted; nor is what a kernel needs for itself, or a runtime keeps in reserve. A runtime that computes in place
needs less.
"""

from __future__ import annotations

from compress.graph.shapes import ShapedGraph

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")


def activation_bytes(graph: ShapedGraph) -> int:
    """The most bytes that intermediate tensors hold at once in one run of the graph."""
    behind: dict[str, str] = {}  # a name's tensor: another one's where it is a view of it
    born: dict[str, int] = {}
    dies: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        for name in filter(None, node.input):
            if (held := behind.get(name)) is not None:
                dies[held] = place
        for name in filter(None, node.output):
            if name in graph.constants:
                continue
            if node.op_type in _VIEWS:
                if node.input[0] in behind:  # a view of an input is nothing of ours
                    behind[name] = behind[node.input[0]]
                continue
            behind[name] = name
            born[name] = dies[name] = place
    for name in graph.outputs:
        if name in behind:
            dies[behind[name]] = len(graph.nodes) - 1
    change = [0] * (len(graph.nodes) + 1)
    for name, place in born.items():
        change[place] += graph.tensors[name].bytes
        change[dies[name] + 1] -= graph.tensors[name].bytes
    most = now = 0
    for step in change:
        now += step
        most = max(most, now)
    return most
