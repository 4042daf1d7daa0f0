"""How many threads a fit may take."""

from __future__ import annotations

import functools

from threadpoolctl import ThreadpoolController


@functools.cache
def libraries() -> ThreadpoolController:
    """The numerical libraries that are loaded, scikit-learn's among them; to look for them takes as long as a small
    fit does."""
    import sklearn.linear_model  # noqa: F401

    return ThreadpoolController()
