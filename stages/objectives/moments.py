"""Mean and variance of a stream of batches, exactly as if it had come in one batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RunningMoments:
    """Count, mean and sum of squared deviations so far; starts empty. Part of a checkpoint where it is used."""

    count: int = 0
    mean: float = 0.0
    sum_squares: float = 0.0

    def update(self, values: Tensor) -> RunningMoments:
        """New moments with these values (any shape) added: Chan, Golub and LeVeque 1983. In float64."""
        if values.numel() == 0:
            return self
        batch = values.detach().double()
        count, added = self.count + batch.numel(), batch.numel()
        shift = float(batch.mean()) - self.mean
        within = float(((batch - batch.mean()) ** 2).sum())
        return RunningMoments(
            count=count,
            mean=self.mean + shift * added / count,
            sum_squares=self.sum_squares + within + shift**2 * self.count * added / count,
        )

    @property
    def var(self) -> float:
        """Biased variance; ValueError before the first value."""
        return self._over(self.count)

    @property
    def std(self) -> float:
        """Unbiased standard deviation; ValueError with fewer than two values."""
        return float(self._over(self.count - 1) ** 0.5)

    def _over(self, divisor: int) -> float:
        if divisor < 1:
            raise ValueError(f"{self.count} values are too few for this moment")
        return self.sum_squares / divisor
