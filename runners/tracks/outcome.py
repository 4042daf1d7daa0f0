"""What a track hands back for a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results.record import Rows


@dataclass(frozen=True)
class Outcome:
    """See `results.record.Record`; `about` are facts for reading beside those that every cell has."""

    test: Rows
    untuned: Rows
    dev: Rows
    trials: Sequence[Mapping[str, Any]]
    chosen: int | Sequence[int]
    side_effects: Mapping[str, Sequence[float]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
