"""The Euler-Maruyama solver that turns noise into the bits of one step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniwetok.ar.diffusion_head import LAST_STEP, Denoiser

if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 16


class Solver:
    """Solves the reverse diffusion over times 0 to 0.95, then steps to 1 without noise.

    At time t, the network's prediction p gives the velocity v = (p - z) / (1 - t), and the step is
    z + ((1 + t) v - z) dt + sqrt(2 (1 - t) dt) noise (released code: drift v + (1 - t) score, with
    score (t v - z) / (1 - t)). The last, plain Euler step of 0.05 ends at the prediction itself.

    Every call has the same shapes and depends on no value, as compiling or capturing it needs.

    Args:
        net: network of the diffusion head.
        steps: noisy steps; the network is run once more than that.

    Attributes:
        times: the ``steps + 1`` times at which the network is run.
    """

    def __init__(self, net: Denoiser, steps: int) -> None:
        self.net = net
        self.step_size = (1 - LAST_STEP) / steps
        self.times = [index * self.step_size for index in range(steps)] + [1 - LAST_STEP]
        weight = net.cond_embed.weight
        self._embedded = net.time_embed(torch.tensor(self.times, device=weight.device))
        self._dtype = weight.dtype

    def solve(self, condition: Tensor, noise: Tensor, weights: Sequence[float]) -> Tensor:
        """Draw bits, before the sign.

        Args:
            condition: (rows, parallel_tokens, width) from the transformer; with guidance, those of
                the null class follow in a second half.
            noise: (steps + 1, drawn, parallel_tokens, bits) float32, the first being the initial
                state. ``drawn`` is ``rows``, or half of it with guidance.
            weights: of guidance at each of ``times``. Where it is 1, the second half is left out.

        Returns:
            (drawn, parallel_tokens, bits) float32.
        """
        drawn = noise.shape[1]
        guided = drawn < len(condition)
        embedded = self.net.cond_embed(condition)
        z = predicted = noise[0]
        for first in range(0, len(self.times), _CHUNK):
            # In chunks: a matrix product over many times reads the weights once, but all times
            # together would take memory in proportion to the steps.
            chunk = self._embedded[first : first + _CHUNK, None, None]
            modulations = self.net.modulations(chunk, embedded)
            for index in range(len(chunk)):
                step = first + index
                weight = weights[step]
                rows = len(condition) if guided and weight != 1 else drawn
                state = z.repeat(rows // drawn, 1, 1).to(self._dtype)
                modulation = [part[index, :rows] for part in modulations]
                predicted = self.net.denoise(state, modulation).float()
                if rows > drawn:
                    of_class, of_null = predicted.chunk(2)
                    predicted = of_null + weight * (of_class - of_null)
                if step < len(noise) - 1:
                    z = self._step(z, predicted, self.times[step], noise[step + 1])
        return predicted

    def _step(self, z: Tensor, predicted: Tensor, time: float, noise: Tensor) -> Tensor:
        velocity = (predicted - z) / (1 - time)
        drift = (1 + time) * velocity - z
        noise_scale = math.sqrt(2 * (1 - time) * self.step_size)
        return z + drift * self.step_size + noise_scale * noise
