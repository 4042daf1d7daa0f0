"""Short names for what cells are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from results.record import Record, canonical

_LONGEST = 40  # characters of a value in a name
KINDS = ("task", "contender", "regime", "budget", "model", "judge")


class Names:
    """Short names for what cells are made of; where one name has several identities, what differs is added."""

    def __init__(self, records: Sequence[Record]) -> None:
        found: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        texts: dict[tuple[int, int], str] = {}  # of identities that records share, as those of a pack do
        self._of: dict[tuple[str, int], tuple[str, str, str]] = {}  # of records that the caller holds
        for r in records:
            for kind in KINDS:
                own = id(getattr(r.cell, kind)), id(r.cell.contents) if kind == "contender" else 0
                if own not in texts:
                    texts[own] = canonical(_identity(kind, r))
                where = self._of[kind, id(r)] = kind, _name(kind, r), texts[own]
                variants = found.setdefault(where[:2], {})
                if where[2] not in variants:
                    variants[where[2]] = _told(_flat(_identity(kind, r)), r)
        self._labels: dict[tuple[str, str, str], str] = {}
        for (kind, name), variants in found.items():
            names = {k for flat in variants.values() for k in flat}
            differing = sorted(k for k in names if len({flat.get(k) for flat in variants.values()}) > 1)
            told = {which: _labelled(name, flat, differing) for which, flat in variants.items()}
            times = Counter(told.values())
            for which, label in told.items():  # what was cut may be all that tells two apart
                extra = f" #{sha256(which.encode()).hexdigest()[:6]}" if times[label] > 1 else ""
                self._labels[kind, name, which] = label + extra

    def __call__(self, kind: str, record: Record) -> str:
        return self._labels[self._of[kind, id(record)]]


def _labelled(name: str, flat: Mapping[str, str], differing: Sequence[str]) -> str:
    extra = ", ".join(f"{k}={flat.get(k, 'none')[:_LONGEST]}" for k in differing)
    return f"{name} [{extra}]" if extra else name


def _told(flat: dict[str, str], record: Record) -> dict[str, str]:
    """Contents of dictionaries by where they lay and the beginning of their hash: nobody knows a hash."""
    places = record.about.get("dictionaries") or {}
    return {
        k: f"{places.get(k.removeprefix('dictionary '), '')}#{v.strip(chr(34))[:6]}"
        if k.startswith("dictionary ")
        else v
        for k, v in flat.items()
    }


def _identity(kind: str, record: Record) -> Mapping[str, Any]:
    identity: Mapping[str, Any] = getattr(record.cell, kind) or {"name": ""}
    # A dictionary that was trained anew makes another contender, whatever its name.
    return {**identity, **record.cell.contents} if kind == "contender" else identity


def _name(kind: str, record: Record) -> str:
    return str(record.about["model"] if kind == "model" else _identity(kind, record)["name"])


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Leaves of nested mappings by their last key, or by their path where it is ambiguous."""
    if not isinstance(value, Mapping):
        return {prefix: canonical(value)}
    leaves: dict[str, str] = {}
    for k, v in value.items():
        leaves |= _flat(v, f"{prefix}.{k}" if prefix and prefix not in {"params"} else str(k))
    return leaves
