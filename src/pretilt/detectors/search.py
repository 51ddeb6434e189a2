"""The search for weights: L-BFGS in double precision, the same from run to run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Parameters [P] to the loss and its gradient [P], float64."""


def minimised(loss: Loss, start: np.ndarray, iterations: int = 200) -> np.ndarray:
    """float64 [P]: where the search ends that begins at `start`."""
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return np.asarray(solution.x, np.float64)
