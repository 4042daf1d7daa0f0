"""What tasks made of a user's own table share: columns, classes, and the question that is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from arena.contract import Brief, FairfightError, TaskMeta
from tasks.labelled import LabelledTask, Rows, identity

MOST_CLASSES = 50


class TableTask(LabelledTask):
    """A labelled text column. Two classes or more; `classes` orders and names them (default: sorted).

    question, words and noun are what prompting contenders are told: write them well, because a baseline
    that is badly asked is no baseline. group is a column whose rows a split keeps together; stratum is one that
    names subpopulations, for worst-group metrics.
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[Any]],
        *,
        text: str,
        label: str,
        group: str | None,
        stratum: str | None,
        classes: Sequence[str] | None,
        words: Sequence[str] | None,
        question: str | None,
        noun: str,
        family: str,
        max_tokens: int,
        meta: Mapping[str, Any],
    ) -> None:
        for role, column in (("text", text), ("label", label), ("group", group), ("stratum", stratum)):
            if column is not None and column not in columns:
                raise FairfightError(
                    f"task.{role}={column!r} is no column of {meta['name']}; its columns are: {', '.join(columns)}."
                )
        self.max_tokens = max_tokens
        values = [_plain(v) for v in columns[label]]
        names = [str(c) for c in classes] if classes else sorted(set(values) - {""})
        stray = set(values) - set(names) - {""}
        if stray or not 2 <= len(names) <= MOST_CLASSES:
            raise FairfightError(
                f"The column {label!r} of {meta['name']} holds {len(set(values) - {''})} different values, "
                + (f"{sorted(stray)[0]!r} among them, which task.classes leaves out; " if stray else "")
                + f"a task takes 2 to {MOST_CLASSES} classes: name them with task.classes=[...]."
            )
        if words is not None and len(words) != len(names):
            raise FairfightError(f"task.words has {len(words)} label words for {len(names)} classes; give one each.")
        told = tuple(str(w) for w in words) if words else tuple(names)
        listed = " or ".join([", ".join(told[:-1]), told[-1]])
        self.brief = Brief(question or f"Is this {noun} {listed}?", tuple(names), told, noun)
        self._rows = Rows(
            prompts=[_plain(v) for v in columns[text]],
            labels=[names.index(v) if v else -1 for v in values],
            groups=None if group is None else [_plain(v) for v in columns[group]],
            strata=None if stratum is None else [_plain(v) for v in columns[stratum]],
        )
        params = identity(self.brief, max_tokens, None, text=text, label=label, group_column=group)
        if stratum is not None:
            params["stratum"] = stratum
        self.meta = TaskMeta(version=1, track="detect", family=family, params=params, **meta)

    def rows(self) -> Rows:
        return self._rows


def _plain(value: Any) -> str:
    """A cell as text: missing and blank ones are empty, whole floats (1.0) are integers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text if text.strip() else ""
