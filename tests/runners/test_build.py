"""What cannot be built of a configuration is told in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from arena.contract import FairfightError
from runners import build
from runners.compose import plain, raw


@pytest.mark.parametrize(
    ("task", "wrong", "told"),
    [
        ("concepts_detect", {"asked": "lots"}, r"task cannot be made of .*asked='lots'"),
        (
            "concepts_detect",
            {"concepts": "sport"},
            r"task\.concepts=sport is no list; write 'task\.concepts=\[sport\]'",
        ),
        ("concepts", {"concepts": 3}, r"task cannot be made of .*concepts=3"),
        ("concepts", {"colour": "red"}, r"task has no hyperparameter 'colour'; it has: .*concepts"),
    ],
)
def test_a_task(task: str, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(FairfightError, match=told):
        build.task({**plain("task", task), **wrong}, [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"foo": 1}, r"judge has no hyperparameter 'foo'; it has: .*known"), ({"known": "many"}, r"judge.*known.*many")],
)
def test_a_judge(wrong: dict[str, Any], told: str) -> None:
    node = {**raw("judge", "openai"), "model": "m", "url": "http://localhost/v1", **wrong}
    with pytest.raises(FairfightError, match=told):
        build.judge(node)
