"""The leaderboard as LaTeX tables (booktabs): one per board, to be read in with \\input."""

from __future__ import annotations

from collections.abc import Sequence

from results.measures import BESIDE, TITLES
from results.render import what_intervals_say
from results.table import VERSUS, Score, Table
from results.verdicts import ALL, verdicts

_MARKS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "·": r"$\cdot$", "–": "--", "\n": " ",
}  # fmt: skip


def latex(tables: Sequence[Table], versus: str | None = None) -> str:
    """Complete contenders of each board by their mean, with 95 % intervals, what they are less `versus`, verdicts."""
    found = [_table(t, versus or VERSUS[t.board.track]) for t in tables if t.tasks]
    return "% needs \\usepackage{booktabs}\n" + "\n".join(found)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_MARKS.get(letter, letter) for letter in text)


def _table(t: Table, versus: str) -> str:
    b, beside = t.board, BESIDE[t.board.track]
    words = {v.method: v.word for v in verdicts(t) if v.task == ALL or len(t.tasks) == 1}
    head = ["contender", "side", TITLES[t.main], f"less {versus}", *beside.values(), "LM tokens", "verdict"]
    lines = [_row(head), r"\midrule"]
    for c in t.contenders:
        mean, gap = t.find(ALL, c), t.against(c, versus)
        if mean is None:
            continue
        lines.append(
            _row(
                [
                    c,
                    mean.family,
                    _interval(mean),
                    "–" if gap is None else f"{gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]",
                    *(f"{s.estimate.value:.3f}" if (s := t.find(ALL, c, metric)) else "–" for metric in beside),
                    f"{mean.lm_tokens:,.0f}",
                    words.get(c, ""),
                ]
            )
        )
    about = f"{b.track}, {b.model}, regime {b.regime}, budget {b.budget}, {b.half} half. {what_intervals_say(t)}"
    if b.half != "lockbox":
        about += " Verdicts of this half are for looking."
    form = "ll" + "r" * (len(head) - 3) + "l"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escape(about)}}}",
            rf"\begin{{tabular}}{{{form}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _interval(s: Score) -> str:
    e = s.estimate
    return f"{e.value:.3f}" + ("" if e.low is None or e.high is None else f" [{e.low:.2f}, {e.high:.2f}]")


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
