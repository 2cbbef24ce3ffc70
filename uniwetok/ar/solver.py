"""The Euler-Maruyama solver that turns noise into the bits of one step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from uniwetok.ar.diffusion_head import LAST_STEP, Denoiser
from uwt_images.graphs import Graphs

_CHUNK = 16
Weight = float | Tensor | tuple[float | Tensor, ...]
"""Of guidance at one time: one branch over the next, or each of several over the next."""


class Solver:
    """Solves the reverse diffusion over times 0 to 0.95, then steps to 1 without noise.

    At time t, the network's prediction p gives the velocity v = (p - z) / (1 - t), and the step is
    z + ((1 + t) v - z) dt + sqrt(2 (1 - t) dt) noise (released code: drift v + (1 - t) score, with
    score (t v - z) / (1 - t)). The last, plain Euler step of 0.05 ends at the prediction itself.

    Every call has the same shapes and depends on no value, as compiling or capturing it needs.

    Args:
        net: network of the diffusion head.
        steps: noisy steps; the network is run once more than that.
        compiled: compile the part of the network that every evaluation runs.

    Attributes:
        times: the ``steps + 1`` times at which the network is run.
    """

    @torch.no_grad()  # As it is used: with gradients torch 2.6 rounds otherwise.
    def __init__(self, net: Denoiser, steps: int, *, compiled: bool = False) -> None:
        self.net = net
        self.step_size = (1 - LAST_STEP) / steps
        self.times = [index * self.step_size for index in range(steps)] + [1 - LAST_STEP]
        weight = net.cond_embed.weight
        self._embedded = net.time_embed(torch.tensor(self.times, device=weight.device))
        self._dtype = weight.dtype
        self._denoise = torch.compile(net.denoise, dynamic=False) if compiled else net.denoise

    def solve(
        self, condition: Tensor, noise: Tensor, weights: Sequence[float | tuple[float, ...]]
    ) -> Tensor:
        """Draw bits, before the sign.

        Args:
            condition: (rows, parallel_tokens, width) from the transformer; with guidance, those of
                the null class follow in a second half. There may be more such branches, each of
                which knows less than the one before.
            noise: (steps + 1, drawn, parallel_tokens, bits) float32, the first being the initial
                state. ``drawn`` is ``rows``, or its part that is a branch with guidance.
            weights: of guidance at each of ``times``. Where it is 1, the second half is left out.
                With more than two branches a tuple: of the first over the second, of the second
                over the third and so on.

        Returns:
            (drawn, parallel_tokens, bits) float32.
        """
        return self.run(condition, noise, weights, [weight == 1 for weight in weights])

    def run(
        self,
        condition: Tensor,
        noise: Tensor,
        weights: Sequence[Weight],
        unguided: Sequence[bool],
    ) -> Tensor:
        """Do as ``solve``, without looking at the weights, which may be tensors ().

        Args:
            condition: as for ``solve``, and so is the noise.
            noise: as above.
            weights: not used where unguided.
            unguided: at each of ``times``, whether the weight is 1.
        """
        drawn = noise.shape[1]
        guided = drawn < len(condition)
        embedded = self.net.cond_embed(condition)
        z = predicted = noise[0]
        # What depends on the condition alone is computed once, what depends on the time too once
        # a chunk; only the denoiser's own layers run at each time.
        for first in range(0, len(self.times), _CHUNK):
            # In chunks: a matrix product over many times reads the weights once, but all times
            # together would take memory in proportion to the steps.
            chunk = self._embedded[first : first + _CHUNK, None, None]
            modulations = self.net.modulations(chunk, embedded)
            for index in range(len(chunk)):
                step = first + index
                rows = len(condition) if guided and not unguided[step] else drawn
                state = z.repeat(rows // drawn, 1, 1).to(self._dtype)
                modulation = [part[index, :rows] for part in modulations]
                # In float32 from here on: the state sums over a hundred small steps.
                predicted = self._denoise(state, modulation).float()
                if rows > drawn:
                    predicted = _guide(predicted.chunk(rows // drawn), weights[step])
                if step < len(noise) - 1:
                    z = self._step(z, predicted, self.times[step], noise[step + 1])
        return predicted

    def _step(self, z: Tensor, predicted: Tensor, time: float, noise: Tensor) -> Tensor:
        # Euler-Maruyama of dz = (v + (1 - t) s) dt + sqrt(2 (1 - t)) dw. For z = (1 - t) e + t x,
        # v = x - e and the score is s = -e / (1 - t) = (t v - z) / (1 - t), so the drift is
        # v + t v - z. The noise vanishes as t nears 1, where bits are decided.
        velocity = (predicted - z) / (1 - time)
        drift = (1 + time) * velocity - z
        noise_scale = math.sqrt(2 * (1 - time) * self.step_size)
        return z + drift * self.step_size + noise_scale * noise


def _guide(branches: Sequence[Tensor], weight: Weight) -> Tensor:
    """Go from the branch that knows least by each weight towards the one that knows more."""
    weights = weight if isinstance(weight, tuple) else (weight,)
    out = branches[-1]
    for scale, more, less in zip(weights, branches[:-1], branches[1:], strict=True):
        out = out + scale * (more - less)
    return out


def as_tensors(weights: Tensor) -> list[Weight]:
    """Weights (times,) or (times, branches - 1) in memory that a graph reads, by time."""
    return [row if row.ndim == 0 else tuple(row.unbind()) for row in weights]


class CapturedSolver:
    """Solves as ``Solver`` does, on a GPU; shapes and unguided times that come often are captured.

    The network is run some hundred times a token, each a few dozen kernels that take less time than
    the CPU needs to start them one by one; a CUDA graph starts all of them at once. It holds for as
    long as the network's weights stay where they are.
    """

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._graphs = Graphs()
        self.times = solver.times

    def solve(
        self, condition: Tensor, noise: Tensor, weights: Sequence[float | tuple[float, ...]]
    ) -> Tensor:
        """Draw bits, before the sign; see ``Solver.solve``."""
        if torch.is_autocast_enabled("cuda"):
            # Whether a graph gives the same bits here has not been seen on a GPU.
            return self._solver.solve(condition, noise, weights)
        unguided = tuple(weight == 1 for weight in weights)

        def run(condition: Tensor, noise: Tensor, values: Tensor) -> Tensor:
            return self._solver.run(condition, noise, as_tensors(values), unguided)

        values = torch.tensor(weights, device=condition.device)
        drawn: Tensor = self._graphs.run(f"solve {unguided}", run, condition, noise, values)
        return drawn


AnySolver = Solver | CapturedSolver


def solver_of(net: Denoiser, steps: int, *, compiled: bool = False) -> AnySolver:
    """The fastest solver where the network is: on a GPU most tokens are one CUDA graph each.

    Args:
        net: network of the diffusion head; where the solver is kept, its weights must not change.
        steps: as for ``Solver``.
        compiled: as for ``Solver``; the first image waits for the compiler.
    """
    solver = Solver(net, steps, compiled=compiled)
    on_gpu = net.cond_embed.weight.device.type == "cuda"
    return CapturedSolver(solver) if on_gpu else solver
