"""NumPy arrays by their type of number; shapes are said where an array is passed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Float32", "Int32"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
