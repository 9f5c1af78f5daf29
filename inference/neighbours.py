"""The sparse item-to-item matrix as it is stored and served. Numpy only; runs in a Lambda.

One pattern, one or two sets of values: every product has a row of the same width N, so that the
rows of a history are one contiguous gather. `neighbours` is int32 (products, N); `recent` and, if
there is one, `lasting` are small integers of the same shape, each row with its float32 scale:

    R[h, j] = recent[h, at] * recent_scale[h]      where neighbours[h, at] = j

Sixteen bits and a scale a row keep values to 1/65,534 of the row's largest, which is finer than
float16 where it matters and three times faster to widen. Short rows are padded with neighbour 0
of value 0, which adds nothing to anything.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import DTypeLike

from inference.errors import ArtifactError
from inference.history import Sources
from inference.quantised import quantised

VALUE_SETS = ("recent", "lasting")


def neighbour_arrays(
    indptr: np.ndarray,
    indices: np.ndarray,
    recent: np.ndarray,
    lasting: np.ndarray | None = None,
    *,
    width: int,
    dtype: DTypeLike = np.int16,
) -> dict[str, np.ndarray]:
    """The arrays to store, of a CSR matrix of (products, products) with one or two value sets.

    `indptr` is (products + 1,); `indices`, `recent` and `lasting` are (entries,). No row may hold
    more than `width` entries (`ValueError`); if all are shorter, the longest decides. `dtype` is
    int16, or int8 for half the size of the values.
    """
    lengths = np.diff(indptr)
    longest = int(lengths.max(initial=0))
    if longest > width:
        raise ValueError(
            f"row {int(lengths.argmax())} has {longest} neighbours; prune to {width} first"
        )
    shape = (len(lengths), max(1, longest))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    columns = np.arange(len(rows)) - np.repeat(np.asarray(indptr[:-1]), lengths)
    neighbours = np.zeros(shape, dtype=np.int32)
    neighbours[rows, columns] = indices
    arrays = {"neighbours": neighbours}
    for name, values in zip(VALUE_SETS, (recent, lasting), strict=True):
        if values is not None:
            dense = np.zeros(shape, dtype=np.float32)
            dense[rows, columns] = values
            arrays[name], arrays[f"{name}_scale"] = quantised(dense, dtype=dtype)
    return arrays


class Neighbours(msgspec.Struct, frozen=True):
    """The matrix, ready to be read: memory-mapped arrays of (products, width)."""

    targets: np.ndarray
    recent: np.ndarray
    recent_scale: np.ndarray
    lasting: np.ndarray | None
    lasting_scale: np.ndarray | None

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Neighbours:
        """Raises `ArtifactError` where arrays are missing or do not fit together."""
        missing = {"neighbours", "recent", "recent_scale"} - set(arrays)
        if missing:
            raise ArtifactError(f"a recommender without the arrays {sorted(missing)}")
        shape = arrays["neighbours"].shape
        for name in VALUE_SETS:
            if name in arrays and arrays[name].shape != shape:
                raise ArtifactError(f"{name} is {arrays[name].shape}, neighbours are {shape}")
        return cls(
            targets=arrays["neighbours"],
            recent=arrays["recent"],
            recent_scale=np.asarray(arrays["recent_scale"], dtype=np.float64),
            lasting=arrays.get("lasting"),
            lasting_scale=np.asarray(arrays["lasting_scale"], dtype=np.float64)
            if "lasting" in arrays
            else None,
        )

    def gather(self, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """Targets (int64) and weighted values (float64) of the sources, both (sources, width)."""
        rows = sources.items
        targets = self.targets.take(rows, axis=0).astype(np.int64)
        recent = sources.recent * self.recent_scale.take(rows)
        values = self.recent.take(rows, axis=0) * recent[:, None]
        if self.lasting is not None and self.lasting_scale is not None:
            lasting = sources.lasting * self.lasting_scale.take(rows)
            values += self.lasting.take(rows, axis=0) * lasting[:, None]
        return targets, values

    def patterns(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of `items` and which are real, not padding: both (items, width)."""
        real = self.recent.take(items, axis=0) != 0
        if self.lasting is not None:
            real |= self.lasting.take(items, axis=0) != 0
        return self.targets.take(items, axis=0), real
