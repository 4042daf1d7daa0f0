"""Where the seconds of a store's records went, a table for each board, as runs print it for a column.

`experiment=` keeps to the contenders, the regime and the budget of an experiment; filters are those of
`fairfight leaderboard`.
Run: python -m benchmarks.breakdown store=results/published/core experiment=core half=public
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from arena.contract import FairfightError
from results import breakdown
from results.record import Record
from results.store import Store, StoreError
from runners.compose import composed
from runners.leaderboard import selected


def main(words: Sequence[str]) -> str:
    """The tables of what the words (overrides) select."""
    experiments = [word for word in words if word.startswith("experiment=")]
    config = composed("leaderboard", [word for word in words if word not in experiments])
    records = selected(config, Store(config["store"]))
    if experiments:
        frame = composed("run", experiments)
        asked = frame["regime"]["name"], frame["budget"]["name"]
        records = [r for r in records if _board(r)[:2] == asked and r.cell.contender["name"] in frame["contender"]]
    boards: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        boards.setdefault(_board(r), []).append(r)
    told = (f"{', '.join(board)}:\n\n{breakdown.table(breakdown.by_task(boards[board]))}" for board in sorted(boards))
    return "\n\n".join(told) or f"No record of {config['store']} is of {', '.join(experiments)}."


def _board(r: Record) -> tuple[str, ...]:
    return r.cell.regime["name"], r.cell.budget["name"], r.cell.half, str(r.about["model"])


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except (FairfightError, StoreError) as error:
        sys.exit(str(error))
