"""Reading back what `neighbour_arrays` stored, as CSR, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Csr = tuple[np.ndarray, np.ndarray, np.ndarray]


def csr_arrays(arrays: Mapping[str, np.ndarray], name: str = "recent") -> Csr:
    """The inverse of `neighbour_arrays`: (`indptr`, `indices`, values) of one value set,
    the values in float64 exactly as they are served.

    Entries whose value was stored as 0 are not listed.
    """
    codes = np.asarray(arrays[name])
    rows, columns = np.nonzero(codes)
    values = codes[rows, columns] * np.asarray(arrays[f"{name}_scale"], dtype=np.float64)[rows]
    counts = np.bincount(rows, minlength=len(codes))
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return indptr, np.asarray(arrays["neighbours"])[rows, columns], values
