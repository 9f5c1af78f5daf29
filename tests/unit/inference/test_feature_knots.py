"""Numbers that bend: the same columns one at a time and many at once, missing ones included."""

import numpy as np
import pytest

from inference.errors import ArtifactError
from inference.features import Encoder, Feature

BENT = Feature("recency", "number", start=0, width=3, mean=5.0, scale=2.0, fill=9.0, knots=[-1, 1])
MARKED = Feature("spend", "number", start=3, width=3, mean=0.0, scale=1.0, fill=4.0, knots=[2.0])


def test_a_number_bends_at_its_knots():
    encoder = Encoder([BENT, MARKED])
    np.testing.assert_allclose(encoder.encode({"recency": 9, "spend": 3.0}), [2, 3, 1, 3, 1, 0])
    np.testing.assert_allclose(encoder.encode({"recency": 1.0, "spend": 0}), [-2, 0, 0, 0, 0, 0])


def test_a_missing_number_is_filled_bent_and_marked():
    encoder = Encoder([BENT, MARKED])
    np.testing.assert_allclose(encoder.encode({}), [2, 3, 1, 4, 2, 1])


def test_columns_give_the_same_as_single_contexts():
    encoder = Encoder([BENT, MARKED])
    generator = np.random.default_rng(0)
    values = generator.normal(4, 4, size=(50, 2))
    values[::7, 1] = np.nan
    columns = {"recency": values[:, 0], "spend": values[:, 1]}
    singles = [
        encoder.encode({"recency": a, "spend": None if np.isnan(b) else b}) for a, b in values
    ]
    np.testing.assert_array_equal(encoder.encode_columns(columns, 50), np.stack(singles))


def test_a_width_that_is_not_the_knots_is_refused():
    with pytest.raises(ArtifactError, match="width of 3 or 4"):
        Encoder([Feature("recency", "number", start=0, width=2, knots=[-1, 1])])
