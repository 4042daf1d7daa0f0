"""A judge behind an endpoint: three questions, ratings over 2, replayed without the network, no key anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena.contract import FairfightError
from arena.judging import SCORES, SELECTS, Offline
from arena.judging_endpoint import EndpointJudge, EndpointPanel
from arena.lab import Lab
from runners import build
from tests.arena.test_endpoint import SECRET, Handler, Server, server

__all__ = ["server"]  # the fixture
ANSWERS = {"boats everywhere": (2, 1, 2), "nothing at all": (0, 2, 1), "no rating": (None, None, None)}


@pytest.fixture
def judge(server: Server, monkeypatch: pytest.MonkeyPatch) -> EndpointJudge:
    """Rates each answer as above, question by question."""

    def say(self: Any) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        assert body["temperature"] == 0
        text = body["messages"][0]["content"]
        which = 0 if "contains this: boats" in text else 1 if "this instruction: where to?" in text else 2
        rating = next(ratings[which] for answer, ratings in ANSWERS.items() if answer in text)
        said = "I cannot say." if rating is None else f"[[7]] would be too much. Rating: [[{rating}]]"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        self.say(200, {"choices": [choice], "usage": {"total_tokens": 10}})

    monkeypatch.setattr(Handler, "do_POST", say)
    return EndpointJudge("judge", f"http://127.0.0.1:{server.server_port}/v1", key="TEST_KEY")


def test_ratings_are_shares_of_two(judge: EndpointJudge, server: Server, lab: Lab, tmp_path: Path) -> None:
    panel = EndpointPanel(judge, ["boats"], lab)
    answers = [*ANSWERS, "  "]
    with lab.meter.phase("judge", counts=False):
        rated = panel.rate([0] * 4, ["where to?"] * 4, answers)
    assert {name: values.tolist() for name, values in rated.items()} == {
        "concept": [1.0, 0.0, 0.0, 0.0],
        "relevance": [0.5, 1.0, 0.0, 0.0],
        "fluency": [1.0, 0.5, 0.0, 0.0],
    }
    assert panel.report() == {"ratings": 9, "without a rating": 3}
    spent = lab.meter.spent()
    assert (spent["judge"]["endpoint_calls"], spent["judge"]["endpoint_tokens"]) == (9, 90)
    assert spent["total"]["endpoint_calls"] == 0  # the judge's work is nobody's
    assert server.asked == 9
    server.shutdown()  # the network is gone, the judgements are not
    again = EndpointPanel(judge, ["boats"], lab).rate([0] * 4, ["where to?"] * 4, answers)
    for name, values in rated.items():
        np.testing.assert_array_equal(again[name], values)
    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert written and SECRET.encode() not in written


def test_a_rating_that_cannot_be_is_none(judge: EndpointJudge, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "boats everywhere", (3, 1, 2))
    panel = EndpointPanel(judge, ["boats"], lab)
    assert panel.rate([0], ["where to?"], ["boats everywhere"])["concept"].tolist() == [0.0]
    assert panel.report()["without a rating"] == 1


def test_the_same_endpoint_selects_only_where_it_is_told_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Offline, "panel", lambda *_: "offline")
    for selects, first in (("offline", str), ("same", EndpointPanel)):
        judge = EndpointJudge("m", selects=selects)
        assert isinstance(judge.panel(SELECTS, [], [], lab), first)
        assert isinstance(judge.panel(SCORES, [], [], lab), EndpointPanel)


def test_who_judges_is_part_of_a_key_and_its_credentials_are_not(judge: EndpointJudge) -> None:
    told = judge.identity()
    assert told["name"] == "endpoint judge"
    assert told["selects"]["name"] == "offline"
    assert "TEST_KEY" not in str(told)
    made = build.judge({"name": "openai", "model": "m", "url": "http://here", "key": "K"})
    assert made.identity()["url"] == "http://here"
    same = build.judge({"name": "openai", "model": "m", "selects": "same"})
    assert same.identity()["selects"] == "same"
    with pytest.raises(FairfightError, match=r"Unknown judge.selects='me'; choose one of offline, same"):
        build.judge({"name": "openai", "model": "m", "selects": "me"})
    with pytest.raises(FairfightError, match=r"Unknown judge.name='oracle'; choose one of offline, openai"):
        build.judge({"name": "oracle"})
    with pytest.raises(FairfightError, match=r"judge.url looks like a key"):
        build.judge({"name": "openai", "model": "m", "url": "https://me:secret@here"})
