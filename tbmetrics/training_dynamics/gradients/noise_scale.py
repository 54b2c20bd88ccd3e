"""The gradient noise scale, from gradients that are accumulated over several backward passes.

Source: McCandlish et al., "An Empirical Model of Large-Batch Training" (2018), appendix A.1: two estimates of the
squared gradient norm, from a small and a big batch, give the trace of the gradient's covariance S and the squared norm
of the true gradient G; the simple noise scale is S / G, the batch size beyond which a bigger batch helps little.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class NoiseScale:
    """Running estimate, in units of one backward pass (multiply by its number of samples).

    S and G are noisy and G's estimate may be negative, so each is averaged on its own and the ratio taken last.

    Args:
        decay: of the exponential averages.
    """

    decay: float = 0.9
    _noise: float = 0.0
    _signal: float = 0.0
    _weight: float = 0.0

    def add(self, first_square: float, sum_square: float, passes: int) -> None:
        """Takes the squared norms of the gradient after the first of `passes` backward passes and after all of them.

        The gradients may be scaled by any common factor.
        """
        small, big = first_square, sum_square / passes**2
        signal = (passes * big - small) / (passes - 1)
        noise = (small - big) / (1 - 1 / passes)
        # The scale of the loss changes between samples; only the ratio counts.
        norm = small or 1.0
        self._signal = self.decay * self._signal + (1 - self.decay) * signal / norm
        self._noise = self.decay * self._noise + (1 - self.decay) * noise / norm
        self._weight = self.decay * self._weight + (1 - self.decay)

    def state(self) -> tuple[float, float, float]:
        """The running averages, for `restore`."""
        return self._noise, self._signal, self._weight

    def restore(self, state: tuple[float, float, float]) -> None:
        """Takes what `state` gave."""
        self._noise, self._signal, self._weight = state

    @property
    def value(self) -> float:
        """The simple noise scale in backward passes; NaN before the first sample and where noise hides the signal."""
        if not self._weight or self._signal <= 0:
            return float("nan")
        return max(self._noise, 0.0) / self._signal
