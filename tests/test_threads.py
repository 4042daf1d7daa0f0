"""The real model on one thread and on two: what a machine's cores leave of the answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena.activations import Reader
from arena.cache import Cache
from arena.contract import Examples
from arena.lab import Lab
from arena.meter import Meter
from arena.models import ModelSpec, load
from baselines.linear_probe import LinearProbe
from baselines.lora import Lora
from methods.diff_in_means import DiffInMeans
from runners.compose import raw
from tests.conftest import BRIEF, examples

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-3  # of scores, in units of their standard deviation; README says so
ASKED = ("What is rain?", "Name a fruit.", "How do I rest well?", "Tell me about Rome.")


def said(folder: Path) -> dict[str, Any]:
    """Scores of a probe on cached states and of a LoRA, and greedy answers under a steering vector."""
    lab = Lab(Reader(load(ModelSpec(**raw("model", "smollm2_135m"))), Cache(folder)), Meter(30), 0)
    data = examples(40)
    train, asked = data.take(np.arange(24)), data.take(np.arange(24, 40))
    asked = Examples(asked.ids, asked.prompts, None, asked.groups)
    probe = LinearProbe().fit(train, BRIEF, lab).score(asked, lab)
    lora = Lora(epochs=1).fit(train, BRIEF, lab).score(asked, lab)
    pushed = DiffInMeans(pooling="mean").fit(train, BRIEF, lab).steer(0.3)
    answers = lab.generate(ASKED, [pushed] * len(ASKED), 10)
    return {"threads": torch.get_num_threads(), "probe": probe.tolist(), "lora": lora.tolist(), "answers": answers}


def test_one_thread_and_two_say_the_same_of_the_real_model(tmp_path: Path) -> None:
    found = []
    for threads in ("1", "2"):
        told = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        code = (
            "import json, pathlib, sys, tests.test_threads as t; print(json.dumps(t.said(pathlib.Path(sys.argv[1]))))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / threads)],
            env={**os.environ, **told}, cwd=ROOT, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    one, two = found
    assert (one["threads"], two["threads"]) == (1, 2)
    for name in ("probe", "lora"):
        mine, other = np.array(one[name]), np.array(two[name])
        np.testing.assert_allclose(mine, other, rtol=0, atol=TOLERANCE * mine.std(), err_msg=name)
    assert one["answers"] == two["answers"] and len(set(one["answers"])) == len(ASKED)
