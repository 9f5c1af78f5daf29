"""What changed of products since a model was trained, as far as decisions honour it at once.

A process asks the store for what is new when `REFRESH_SECONDS` have passed, and lays it over its
model. A store that fails leaves what is known as it was, and the answers say so. Runs in a Lambda;
called by the handlers, so that the cores stay pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

import msgspec

from inference.errors import NextbestError

REFRESH_SECONDS = 5.0
OVERLAP_SECONDS = 10.0  # more than clocks differ and a write takes


class ProductStoreError(NextbestError):
    """The store of product changes did not answer."""


class ProductState(msgspec.Struct, frozen=True):
    """What was last said of a product; None where nothing was."""

    product_id: str
    available: bool | None = None
    price: float | None = None


class ProductStore(Protocol):
    def since(self, moment: float) -> list[ProductState]:
        """Products of which something was written at or after the moment, in epoch seconds.

        Raises `ProductStoreError`.
        """


class Changeable(Protocol):
    def changed_by(self, states: Sequence[ProductState]) -> Self:
        """The same with the states laid over; what it does not know is left out."""


M = TypeVar("M", bound=Changeable)


class LiveModel(Generic[M]):
    """A model with what has changed of its products. `clock` is in epoch seconds."""

    def __init__(self, model: M, store: ProductStore, *, clock: Callable[[], float]) -> None:
        self._model, self._store, self._clock = model, store, clock
        self._known: dict[str, ProductState] = {}
        self._asked_at = self._complete_until = float("-inf")
        self._failed = False

    def current(self) -> tuple[M, bool]:
        """The model as of now, and whether that could not be asked."""
        now = self._clock()
        if not 0 <= now - self._asked_at < REFRESH_SECONDS:
            self._asked_at = now
            self._refresh(now)
        return self._model, self._failed

    def _refresh(self, now: float) -> None:
        try:
            found = self._store.since(max(0.0, self._complete_until - OVERLAP_SECONDS))
        except ProductStoreError:
            self._failed = True
            return
        self._failed, self._complete_until = False, now
        new = {s.product_id: s for s in found if self._known.get(s.product_id) != s}
        if new:
            self._known.update(new)
            self._model = self._model.changed_by(list(new.values()))
