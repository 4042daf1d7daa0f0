"""The leaderboard as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from results.assumptions import HOW, about_across, across, assumptions
from results.matched import ABOUT, NATS, matched
from results.measures import BESIDE, TITLES
from results.quiver import quivers
from results.stats import FEWEST_FAMILIES, FEWEST_GROUPS
from results.steering import ANSWERS, KNOWN
from results.table import AT_FLOOR, FIELDS, VERSUS, Board, Score, Table, at_floor
from results.verdicts import ALL, WORDS, Verdict, lacking, sentence, verdicts

VERDICT_FIELDS = (
    "track", "regime", "budget", "model", "half", "judge", "access", "task", "method", "verdict", "opponent", "gap",
    "low", "high", "beside", "less_beside", "p_beats", "p_loses", "p_ties", "p_sign_flip", "detectable", "power",
    "pool", "note",
)  # fmt: skip

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # as spreadsheets begin them


def rows(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The leaderboard as data: one row per board, task (`all`: the aggregate), contender and metric."""
    found = [s.row() for table in tables for s in table.scores]
    return sorted(found, key=lambda r: tuple(str(r[f]) for f in ("track", "regime", "budget", "model", "half", "task")))


def as_json(tables: Sequence[Table]) -> str:
    encode = json.JSONEncoder(allow_nan=False).encode  # json's own indenting takes ten times as long
    lines = map(encode, rows(tables))
    return "[\n" + ",\n".join(lines) + "\n]"


def inert(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is none."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULAS) else value


def as_csv(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(map(inert, row.values()) for row in rows(tables))
    return out.getvalue()


def as_markdown(tables: Sequence[Table], versus: str | None = None) -> str:
    """`versus` is laid beside every contender; None: the track's own."""
    boards = [_markdown(t, versus or VERSUS[t.board.track]) for t in tables]
    text = "\n\n".join([*boards, *_across(tables)]) + "\n"
    return text.replace("<", "&lt;").replace("](", "]\\(")  # foreign names are text, and lead nowhere


def _markdown(t: Table, versus: str) -> str:
    b = t.board
    if not t.tasks:
        return "\n".join([_head(b), "", "No cell has a result.", *_failures(t)])
    title = TITLES[t.main]
    lines = [
        _head(b),
        "",
        *([t.filtered, ""] if t.filtered else []),
        f"{title[:1].upper()}{title[1:]} with 95 % intervals; {count(len(t.tasks), 'task')}, "
        f"{seeds_of(t)}. "
        + what_intervals_say(t)
        + " LM tokens (full-depth equivalents) and seconds are what a contender would have cost standing alone: "
        "selection, fit and queries (what two of them read counts once), mean over seeds, summed over tasks.",
        "",
    ]
    compared = any(t.against(c, versus) for c in t.contenders)
    gap = [f"less {versus}"] if compared else []
    header = [
        "#",
        "contender",
        "family",
        f"mean {title}",
        *gap,
        *t.tasks,
        *BESIDE[t.board.track].values(),
        "LM tokens",
        "seconds",
        "uses",
    ]
    table = [header]
    rank = 0
    for contender in t.contenders:
        rank += t.complete(contender)
        line = _line(t, contender, str(rank) if t.complete(contender) else "–")
        table.append([*line[:4], *([_gap(t.against(contender, versus))] if compared else []), *line[4:]])
    lines += _aligned(table)
    lines += _verdicts(t)
    lines += _toolbox(t)
    lines += _matched(t)
    lines += _assumptions(t)
    lines += _notes(t)
    return "\n".join(lines)


def _head(b: Board) -> str:
    judged = f" · judge {b.judge}" if b.judge else ""
    return f"## {b.track} · {b.model} · regime {b.regime} · budget {b.budget}{judged} · {b.half} half"


def count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def seeds_of(t: Table) -> str:
    """How many seeds the ranked contenders have (where none is ranked: all)."""
    ranked = sorted({s.seeds for s in t.scores if t.complete(s.contender)} or {s.seeds for s in t.scores})
    return f"{' or '.join(map(str, ranked)) or 'no'} seed{'s' * (ranked != [1])}"


def what_intervals_say(t: Table) -> str:
    families = len(set(t.families.values()))
    if families >= FEWEST_FAMILIES:
        return f"The mean is over {families} task families, its interval for other families (t)."
    few = "1 task family is" if families == 1 else f"{families} task families are"
    return (
        "The mean's interval is for these tasks with other examples (of a suite: other concepts) and seeds: "
        f"{few} too few to speak of other tasks ({FEWEST_FAMILIES} would do)."
    )


def _line(t: Table, contender: str, rank: str) -> list[str]:
    every = t.find("all", contender)
    beside = [t.find("all", contender, metric) for metric in BESIDE[t.board.track]]
    own = [s for s in t.scores if s.contender == contender and s.metric == t.main and s.task != "all"]
    have, of = t.coverage[contender]
    return [
        rank,
        contender,
        own[0].family if own else "",
        _cell(every) if every else f"{have}/{of} cells",
        *(_cell(t.find(task, contender)) for task in t.tasks),
        *(_value(s.estimate.value) if s else "–" for s in beside),
        f"{every.lm_tokens:,.0f}" if every else "–",
        f"{every.seconds:,.1f}" if every else "–",
        ", ".join(t.access.get(contender, ())),
    ]


def _gap(found: tuple[float, float, float] | None) -> str:
    return "–" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]"


def _value(x: float) -> str:
    """A dash where there is no number: AUROC of answers of one class is undefined."""
    return f"{x:.3f}" if math.isfinite(x) else "–"


def _cell(score: Score | None) -> str:
    if score is None:
        return "–"
    e = score.estimate
    if e.low is None or e.high is None:
        return _value(e.value)
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _notes(t: Table) -> list[str]:
    lines = []
    floor = at_floor(t)
    if floor:
        lines += [
            "",
            f"Prompt at floor ({AT_FLOOR[t.board.track]}; no claim is made against prompting there): "
            f"{', '.join(floor)}.",
        ]
    few = sorted({f"{s.task} ({s.groups})" for s in t.scores if s.task != "all" and s.groups < FEWEST_GROUPS})
    if few:
        lines += ["", f"Too few groups for a verdict (fewer than {FEWEST_GROUPS}): {', '.join(few)}."]
    lines += _known(t)
    sizes = sorted({f"{s.task} {s.n} ({s.groups})" for s in t.scores if s.task != "all"})
    lines += ["", f"Test rows (groups): {', '.join(sizes)}."]
    incomplete = [c for c in t.contenders if not t.complete(c)]
    if incomplete:
        lines += ["", f"Not ranked, for lack of cells: {', '.join(incomplete)}."]
    return lines + _failures(t)


def judged_texts(t: Table) -> list[list[str]]:
    """What the judge makes of texts whose quality is known, a row per task under the names; none where none is told."""
    if not t.known:
        return []
    columns = [name for name in (*KNOWN, *ANSWERS, "withheld") if any(name in told for told in t.known.values())]
    rows = [["task", *columns]]
    return rows + [
        [task, *(f"{told[name]:.2f}" if name in told else "–" for name in columns)] for task, told in t.known.items()
    ]


JUDGED_TEXTS = (
    "What the judge's scoring panel makes of texts whose quality is known, means over concepts: its AUROC for the "
    "concept's texts among others; the concept score of real, other, unsteered and hard negative texts, of salads "
    "of the concept's words and of loops; the whole score as answers of real texts, salads, loops, echoes of the "
    "instruction and of what is asked for; the share of concepts whose scores are withheld."
)


def _known(t: Table) -> list[str]:
    rows = judged_texts(t)
    return ["", JUDGED_TEXTS, "", *_aligned(rows)] if rows else []


def _failures(t: Table) -> list[str]:
    if not t.failures:
        return []
    about = "Cells without a result (resume=failed tries failures again):"
    return ["", about, "", *(f"- {_escape(line)}" for line in t.failures)]


def _verdicts(t: Table) -> list[str]:
    """One line per method: its word over all tasks, how often it has which, and the distance from its opponent."""
    found, fair = verdicts(t), verdicts(t, equal_access=True)
    names = t.complete_ones("method")
    if not found:
        return []
    rows = [["method", "over all tasks", *WORDS, "less its opponent", "p (sign flips)", "at equal access"]]
    for name in names:
        mine = [v for v in found if v.method == name and v.task != ALL]
        whole, equal = (next((v for v in those if (v.method, v.task) == (name, ALL)), None) for those in (found, fair))
        rows.append(
            [
                name,
                whole.word if whole else "–",
                *(str(sum(v.word == word for v in mine)) for word in WORDS),
                _against_opponent(whole or (mine[0] if len(mine) == 1 else None)),
                _p(whole.flip) if whole and whole.flip is not None else "–",
                equal.word if equal else "–",
            ]
        )
    about = (
        f"Verdicts. A method beats a task when it stands above every baseline of the pool, each at one-sided 2.5 %, "
        f"adjusted over the methods of a task, not over tasks (Holm), and above its matched control (else void); it "
        f"ties within {t.margins.task:g} of its opponent on a task and {t.margins.suite:g} over all tasks (TOST), or "
        f"loses against it. The opponent is the baseline that does best out of fold on the other tasks"
        f"{'' if len(t.tasks) > 1 else ' (with one task the one that all are laid beside)'}. At equal access it meets "
        f"those alone that use nothing more than it does. The pool: {', '.join(found[0].pool)}."
    )
    if missing := lacking(t):
        about += f" Nothing is decided without the floors of the track; missing: {missing}."
    if t.board.half != "lockbox":
        about += f" Of the {t.board.half} half they are for looking: the lockbox decides."
    words = [f"- {sentence(name, found, quivers(t))}" for name in names] if len(t.tasks) > 1 else []
    return ["", about, "", *_aligned(rows), *([""] if words else []), *words]


def _p(value: float) -> str:
    return "≤0.001" if value <= 0.001 else f"{value:.3f}"


def _against_opponent(v: Verdict | None) -> str:
    if v is None or v.gap is None or v.gap.low is None or v.gap.high is None:
        return "–"
    return f"{v.opponent}: {_gap((v.gap.value, v.gap.low, v.gap.high))}"


def verdicts_as_csv(tables: Sequence[Table]) -> str:
    """One line per board, task and method; `access`: against all baselines, or those that use nothing more."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(VERDICT_FIELDS)
    for t in tables:
        b = t.board
        for access in ("any", "equal"):
            for v in verdicts(t, equal_access=access == "equal"):
                numbers = [v.gap.value, v.gap.low, v.gap.high] if v.gap else [None] * 3
                numbers += [
                    v.beside.value if v.beside else None,
                    v.p,
                    v.p_loses,
                    v.p_ties,
                    v.flip,
                    v.detectable,
                    v.power,
                ]
                told = ["" if x is None else f"{x:.6g}" for x in numbers]
                head = [b.track, b.regime, b.budget, b.model, b.half, b.judge, access, v.task, v.method, v.word]
                head += [v.opponent or "", *told[:3], VERSUS[b.track] if v.beside else "", *told[3:]]
                writer.writerow(list(map(inert, [*head, " ".join(v.pool), v.note])))
    return out.getvalue()


def _toolbox(t: Table) -> list[str]:
    """What each method adds to the baselines' toolbox."""
    found = quivers(t)
    if not found:
        return []
    rows = [["added to the toolbox", "chosen in cells", "change of the mean", "less its control"]]
    for q in found:
        name = q.added[0] if len(q.added) == 1 else "all methods"
        interval = f" [{q.interval[0]:+.4f}, {q.interval[1]:+.4f}]" if q.interval else ""
        control = against_control(t, name) if len(q.added) == 1 else "–"
        change = f"{q.change:+.4f}{interval}" if q.picked else "never chosen"
        rows.append([name, f"{q.picked}/{q.cells}", change, control])
    about = (
        f"The toolbox of {len(found[0].pool)} baselines answers each task and seed with the one that did best on the "
        f"shared folds: mean {TITLES[t.main]} {found[0].without:.3f}. Does it rise when a method joins? What a method "
        f"reaches counts for it only where it stands above its matched control; else it is void."
    )
    return ["", about, "", *_aligned(rows)]


def _matched(t: Table) -> list[str]:
    """What steering reaches at equal damage."""
    found = matched(t)
    if not found:
        return []
    rows = [["contender", *(f"at {nats:g}" for nats in NATS)]]
    rows += [[m.contender, *(f"{score:.3f}" for score in m.scores)] for m in found]
    return ["", ABOUT, "", *_aligned(rows)]


def _assumptions(t: Table) -> list[str]:
    found = assumptions(t)
    if not found:
        return []
    rows = [["assumption", "contender", "less", "difference", "it stands"]]
    rows += [[a.question, a.one, a.two, _gap(a.gap), a.told] for a in found]
    return ["", f"What these records say about common assumptions. {HOW}", "", *_aligned(rows)]


def _across(tables: Sequence[Table]) -> list[str]:
    """What several boards say together."""
    found = across(tables)
    if not found:
        return []
    rows = [["question", "on", "number", "answer"], *([a.question, a.where, _gap(a.gap), a.told] for a in found)]
    return ["\n".join(["## Across the boards", "", about_across(found), "", *_aligned(rows)])]


def against_control(t: Table, method: str) -> str:
    """The matched control and the distance from it."""
    control = t.control_of(method)
    if control is None:
        return f"{t.controls.get(method) or 'none'}: not on this board in full"
    gap = t.against(method, control)
    if gap is None:
        one, two = (t.find("all", c) for c in (method, control))
        change = one.estimate.value - two.estimate.value if one and two else float("nan")
        return f"{control}: {change:+.3f}, too few families for an interval"
    return f"{control}: {_gap(gap)}{'' if gap[1] > 0 else ', void'}"


def _aligned(table: list[list[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text."""
    cells = [[_escape(c) for c in row] for row in table]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def _escape(text: str) -> str:
    plain = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("|", "\\|").replace("<", "&lt;")
