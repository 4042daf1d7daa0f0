"""A judge behind an endpoint: three questions, ratings over 2, replayed without the network, no key anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arena import judging_endpoint
from arena.contract import FairfightError, Part
from arena.judging import SCORES, SELECTS, Offline
from arena.judging_endpoint import EndpointJudge, EndpointPanel
from arena.lab import Lab
from results.steering import judged
from runners import build
from tests.arena.test_endpoint import SECRET, Handler, Server, server
from tests.arena.test_judging import parts
from tests.results.test_record import record

__all__ = ["parts", "server"]  # fixtures
ANSWERS = {"boats everywhere": (2, 1, 2), "nothing at all": (0, 2, 1), "no rating": (None, None, None)}


@pytest.fixture
def judge(server: Server, monkeypatch: pytest.MonkeyPatch) -> EndpointJudge:
    """Rates each answer as above, question by question; asked at another temperature than 0 it breaks."""

    def say(self: Any) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        assert body["temperature"] == 0
        text = body["messages"][0]["content"]
        which = 0 if "contains this: boats" in text else 1 if "this instruction: where to?" in text else 2
        rating = next((ratings[which] for answer, ratings in ANSWERS.items() if answer in text), None)
        said = "I cannot say." if rating is None else f"[[7]] would be too much. Rating: [[{rating}]]"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}}
        self.say(200, {"model": self.server.model, "choices": [choice], "usage": {"total_tokens": 10}})

    monkeypatch.setattr(Handler, "do_POST", say)
    return EndpointJudge("judge", f"http://127.0.0.1:{server.server_port}/v1", key="TEST_KEY")


def test_ratings_are_shares_of_two(judge: EndpointJudge, server: Server, lab: Lab, tmp_path: Path) -> None:
    panel = EndpointPanel(judge, ["boats"], [{}], lab)
    answers = [*ANSWERS, "  "]
    with lab.meter.phase("judge", counts=False):
        rated = panel.rate([0] * 4, ["where to?"] * 4, answers)
    assert {name: values.tolist() for name, values in rated.items()} == {
        "concept": [1.0, 0.0, 0.0, 0.0],
        "relevance": [0.5, 1.0, 0.0, 0.0],
        "fluency": [1.0, 0.5, 0.0, 0.0],
    }
    assert panel.report() == {"ratings": 9, "without a rating": 3, "models": {"m": 9}}
    spent = lab.meter.spent()
    assert (spent["judge"]["endpoint_calls"], spent["judge"]["endpoint_tokens"]) == (9, 90)
    assert spent["total"]["endpoint_calls"] == 0  # the judge's work is nobody's
    assert server.asked == 9
    server.shutdown()  # the network is gone, the judgements are not
    again = EndpointPanel(judge, ["boats"], [{}], lab).rate([0] * 4, ["where to?"] * 4, answers)
    for name, values in rated.items():
        np.testing.assert_array_equal(again[name], values)
    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert written and SECRET.encode() not in written


def test_who_rated_is_told_and_is_no_part_of_the_key(judge: EndpointJudge, server: Server, lab: Lab) -> None:
    before, told = judge.identity(), []
    for n, server.model in ((1, "m-1"), (3, "m-2"), (3, "m-3")):  # the third is asked nothing anew
        panel = EndpointPanel(judge, ["boats"], [{}], lab)
        panel.rate([0] * n, ["where to?"] * n, [*ANSWERS][:n])
        told.append(panel.report()["models"])
    assert told == [{"m-1": 3}, {"m-1": 3, "m-2": 6}, {"m-1": 3, "m-2": 6}]
    assert judge.identity() == before


def test_a_rating_that_cannot_be_is_none(judge: EndpointJudge, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "boats everywhere", (3, 1, 2))
    panel = EndpointPanel(judge, ["boats"], [{}], lab)
    assert panel.rate([0], ["where to?"], ["boats everywhere"])["concept"].tolist() == [0.0]
    assert panel.report()["without a rating"] == 1


def test_what_it_makes_of_known_texts_is_shown_and_salad_withholds(judge: EndpointJudge, lab: Lab) -> None:
    asked = ["where to?"]
    known = {"real": (asked, ["boats everywhere"]), "salad": (asked, ["nothing at all"]), "request": ([], [])}
    fine = EndpointPanel(judge, ["boats"], [known], lab)
    assert fine.rate([0], asked, ["boats everywhere"])["concept"].tolist() == [1.0]
    (told,) = fine.report()["parts"]
    assert (told["real"], told["salad"], told["withheld"]) == (1.0, 0.0, False)
    assert told["scores"] == {"real": pytest.approx(3 / 4), "salad": 0.0}
    swapped = {"real": known["salad"], "salad": known["real"]}
    fooled = EndpointPanel(judge, ["boats", "boats"], [swapped, known], lab)
    rated = fooled.rate([0, 1, 0], asked * 3, ["boats everywhere"] * 2 + [" "])
    np.testing.assert_array_equal(rated["concept"], [np.nan, 1.0, np.nan])
    assert [part["withheld"] for part in fooled.report()["parts"]] == [True, False]
    means = {"real": 0.5, "salad": 0.5, "withheld": 0.5, "real as answer": 0.75, "salad as answer": 0.0}
    assert judged_by(fooled) == means


def judged_by(panel: EndpointPanel) -> dict[str, float]:
    """As the leaderboard reads a report."""
    about = {"judge": {"scores": panel.report()}}
    return {name: pytest.approx(value) for name, value in judged([replace(record(), about=about)]).items()}


def test_the_judge_is_shown_as_many_texts_as_asked(lab: Lab, judge: EndpointJudge, parts: list[Part]) -> None:
    (part, *_) = parts
    shows = {}
    for known in (0, 2):
        panel = EndpointJudge("judge", judge.url, "TEST_KEY", known=known).panel(SCORES, [part], [part.public], lab)
        panel.rate([0], ["where to?"], ["no rating"])
        shows[known] = panel.report()
    assert shows[0] == {"ratings": 3, "without a rating": 3, "models": {"m": 3}}
    assert shows[2]["ratings"] == 3 * (1 + 2 * len(shows[2]["parts"][0]["scores"])) > 20
    with pytest.raises(FairfightError, match=r"judge.known=13 texts of each kind can't be shown"):
        EndpointJudge("judge", known=13)


def test_the_same_endpoint_selects_only_where_it_is_told_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Offline, "panel", lambda *_: "offline")
    for selects, first in (("offline", str), ("same", EndpointPanel)):
        judge = EndpointJudge("m", selects=selects)
        assert isinstance(judge.panel(SELECTS, [], [], lab), first)
        assert isinstance(judge.panel(SCORES, [], [], lab), EndpointPanel)


def test_who_judges_is_part_of_a_key_and_its_credentials_are_not(
    judge: EndpointJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = judge.identity()
    with monkeypatch.context() as patch:
        patch.setitem(judging_endpoint.QUESTIONS, "concept", "Another wording? {answer}")
        assert judge.identity() != told
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
