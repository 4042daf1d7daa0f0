"""Answers of steered models to look at: what the numbers mean."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from results.record import Record, Steered
from results.render import count
from results.steering import PARTS, harmonic

MOST = 20  # answers of each contender
WIDEST = 320  # characters of an answer that are shown


def samples(records: Sequence[Record], most: int = MOST) -> str:
    """Markdown: for each suite of a steered task and each contender the answers to the same instructions.

    The rule: of each suite's lowest seed, the instructions with the smallest sha256 of part and id; the same for
    everyone who ran that seed. A task with fewer parts is another suite.
    """
    steered = [r for r in records if isinstance(r.test, Steered)]
    seeds: dict[str, int] = {}
    for r in steered:
        seeds[_suite(r)] = min(r.cell.seed, seeds.get(_suite(r), r.cell.seed))
    shown = [r for r in steered if r.cell.seed == seeds[_suite(r)]]
    shown.sort(key=lambda r: (_suite(r), r.cell.contender["name"], r.key))
    alike = Counter(map(_title, shown))
    lines = [
        "# What steered models said",
        "",
        f"The {most} instructions of each suite (a task with its concepts) with the smallest sha256 of concept and "
        f"instruction, of its lowest seed; the same for every contender of the suite. Scores: {', '.join(PARTS)} and "
        f"their harmonic mean, in [0, 1].",
    ]
    for record in shown:
        assert isinstance(record.test, Steered)
        more = f" · budget {record.cell.budget['name']} · {record.key[:8]}" if alike[_title(record)] > 1 else ""
        lines += ["", f"## {_title(record)}{more}", "", *_answers(record.test, most)]
    return "\n".join(lines) + "\n"


def _suite(record: Record) -> str:
    """What is asked: its task with its parameters, in its half and regime."""
    cell = record.cell
    return json.dumps([cell.task, cell.half, cell.regime], sort_keys=True, default=str)


def _title(record: Record) -> str:
    assert isinstance(record.test, Steered)
    suite = f"{record.cell.task['name']}, {count(len(set(record.test.part)), 'concept')}"
    return f"{suite} · {record.cell.contender['name']} · {record.about['model']}".replace("<", "&lt;")


def _answers(test: Steered, most: int) -> list[str]:
    lines = []
    total = harmonic(test.score)
    for row in _first(test, most):
        each = " · ".join(_number(test.score[name][row]) for name in PARTS)
        answer = test.answer[row] if len(test.answer[row]) <= WIDEST else test.answer[row][:WIDEST] + " …"
        lines.append(
            f"- **{_plain(test.part[row])}** — {_plain(test.prompt[row])} → {_plain(answer)} "
            f"({each} → {_number(total[row])})"
        )
    return lines


def first_answers(test: Steered, most: int) -> list[dict[str, str]]:
    """The same as plain text: concept, instruction, answer and score of each."""
    total = harmonic(test.score)
    return [
        {
            "part": test.part[row],
            "prompt": test.prompt[row],
            "answer": test.answer[row],
            "score": _number(total[row]),
        }
        for row in _first(test, most)
    ]


def _first(test: Steered, most: int) -> list[int]:
    """The rows that are shown."""
    return sorted(range(len(test.id)), key=lambda row: _order(test, row))[:most]


def _order(test: Steered, row: int) -> str:
    return hashlib.sha256(f"{test.part[row]}\0{test.id[row]}".encode()).hexdigest()


def _number(value: float) -> str:
    return "withheld" if np.isnan(value) else f"{value:.2f}"


def _plain(text: str) -> str:
    """One line of text that Markdown and a browser leave as it is."""
    for mark, harmless in (
        ("&", "&amp;"), ("<", "&lt;"), ("`", "&#96;"), ("*", "&#42;"), ("_", "&#95;"),
        ("[", "&#91;"), ("]", "&#93;"), ("~", "&#126;"), ("\\", "&#92;"),
    ):  # fmt: skip
        text = text.replace(mark, harmless)
    return " ⏎ ".join(text.splitlines())
