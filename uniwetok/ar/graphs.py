"""The diffusion of a token as one CUDA graph.

Its network is run some hundred times, each a few dozen kernels that take less time than the CPU
needs to start them one by one; a graph starts all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uniwetok.ar.solver import Solver

_WARM_UP = 2
"""Runs before the capture, in which libraries are loaded and kernels compiled."""


class CapturedSolver:
    """Solves as ``Solver`` does, on a GPU; shapes and unguided times are captured once each.

    For as long as the network's weights stay where they are.
    """

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._captured: dict[object, _Capture] = {}

    def solve(self, condition: Tensor, noise: Tensor, weights: Sequence[float]) -> Tensor:
        """Draw bits, before the sign; see ``Solver.solve``."""
        unguided = tuple(weight == 1 for weight in weights)
        key = (condition.shape, noise.shape, unguided)
        values = torch.tensor(weights, device=condition.device)
        if key not in self._captured:
            with torch.cuda.device(condition.device):
                self._captured[key] = _Capture(self._solver, condition, noise, values, unguided)
        return self._captured[key].replay(condition, noise, values)


class _Capture:
    """One graph, and the memory that it reads and writes."""

    def __init__(
        self,
        solver: Solver,
        condition: Tensor,
        noise: Tensor,
        weights: Tensor,
        unguided: Sequence[bool],
    ) -> None:
        self._inputs = (condition.clone(), noise.clone(), weights.clone())

        def run() -> Tensor:
            held_condition, held_noise, held_weights = self._inputs
            return solver.run(held_condition, held_noise, held_weights.unbind(), unguided)

        current, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                run()
        current.wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = run()

    def replay(self, *inputs: Tensor) -> Tensor:
        """Run the graph on condition, noise and weights."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output.clone()
