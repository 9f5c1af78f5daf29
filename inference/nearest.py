"""The products nearest to an embedding, by cosine. onnxruntime and numpy; runs in a Lambda.

All products are searched in int8; the best few of that are put in order by their embeddings in
float32, which gives what a search in float32 gives. Where too few of them may be shown, more are
looked at, and then every product that may, in float32. Where a sample says beforehand that only few
may, those alone are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime

from inference.filters import Test

GRAPH = "search.onnx"
_SHORTLIST = 128
# What is shown is in a shortlist's first quarter: rounding moves products by a few places only.
_SPARE = 4
_LEEWAY = 8
_FEW = 8
# Looking at so many that pass takes no longer than searching a hundred thousand.
_MOST_DIRECTLY = 12_000
_SAMPLE = 2_000
_SCATTER = 2_654_435_761  # 2 ** 32 / the golden ratio: Knuth's multiplicative hashing


@dataclass(frozen=True)
class Nearest:
    """`embeddings` float32 (products, d), rows of length one; `session` runs `search.onnx`."""

    embeddings: np.ndarray
    session: onnxruntime.InferenceSession

    def find(
        self,
        question: np.ndarray,
        count: int,
        *,
        allowed: Test | None = None,
        without: Sequence[int] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes and cosines of the `count` nearest that pass, nearest first, ties by code.

        `question` float32 (d,), of length one. Fewer only where no more pass.
        """
        passes = _test(allowed, without)
        size = max(_SHORTLIST, _SPARE * (count + _LEEWAY))
        if allowed is not None and self._few_pass(passes, needed=count / size):
            return self._among_all(question, count, passes)
        for wanted in (size, _SPARE * size):
            if wanted >= len(self.embeddings):
                break
            items = self._shortlist(question, wanted)
            items, cosines = _ordered(items, self.embeddings.take(items, axis=0) @ question)
            places = np.flatnonzero(passes(items))[:count]
            if len(places) < count:
                break
            if places[-1] < wanted // _SPARE:
                return items[places], cosines[places]
        return self._among_all(question, count, passes)

    def _few_pass(self, passes: Test, *, needed: float) -> bool:
        """Whether it looks as if less than the share `needed` passes, and not too many to look at
        each; by a sample scattered over the catalogue, which may be in some order."""
        sample = np.arange(_SAMPLE) * _SCATTER % max(1, len(self.embeddings))
        share = np.count_nonzero(passes(sample)) / _SAMPLE
        return bool(share < needed and share * len(self.embeddings) < _MOST_DIRECTLY)

    def _shortlist(self, question: np.ndarray, count: int) -> np.ndarray:
        """Codes of about the `count` nearest, in no order."""
        feed = {"question": question[None], "count": np.array([count])}
        found: np.ndarray = self.session.run(["products"], feed)[0][0]
        return found

    def _among_all(
        self, question: np.ndarray, count: int, passes: Test
    ) -> tuple[np.ndarray, np.ndarray]:
        items = np.flatnonzero(passes(np.arange(len(self.embeddings))))
        if len(items) * _FEW < len(self.embeddings):
            cosines = self.embeddings.take(items, axis=0) @ question
        else:  # reading all in a row is faster than collecting most
            cosines = (self.embeddings @ question)[items]
        if count < len(items):
            best = cosines >= np.partition(cosines, -count)[-count]
            items, cosines = items[best], cosines[best]
        items, cosines = _ordered(items, cosines)
        return items[:count], cosines[:count]


def _test(allowed: Test | None, without: Sequence[int]) -> Test:
    """Passed by what `allowed` passes and is not among `without`."""
    banned = np.asarray(without, dtype=np.int64)

    def passes(items: np.ndarray) -> np.ndarray:
        mask = np.ones(len(items), dtype=bool) if allowed is None else allowed(items)
        if len(banned):
            mask[mask] = ~np.isin(items[mask], banned)
        return mask

    return passes


def _ordered(items: np.ndarray, cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((items, -cosines))
    return items[order], cosines[order]
