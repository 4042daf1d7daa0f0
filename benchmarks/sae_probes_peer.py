"""Our linear probe beside the logistic regression of the sae-probes package, on identical activations.

Two steps, since the package wants an environment of its own (pip install sae-probes==0.4.2):

    python -m benchmarks.sae_probes_peer write FOLDER          # ours: ten sets, activations and AUROC
    OTHER/bin/python benchmarks/sae_probes_peer.py judge FOLDER    # theirs, on the same activations

The first runs `experiment=sae_probes_compat` (block 15, last token) and writes what it read, one row per row of
the package's file. The second imports `sae_probes` and nothing of ours: the package draws its own split
(`get_xy_traintest`) and fits (`find_best_reg`); it prints one line per set, writes `benchmarks/sae_probes_peer.md`
beside this file, and fails if a difference is above 0.002.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

SETS = (
    "5_hist_fig_ismale",
    "7_hist_fig_ispolitician",
    "50_deon_isvalid",
    "54_cs_tf",
    "87_glue_cola",
    "92_glue_sst2",
    "96_spam_is",
    "105_click_bait",
    "121_us_timezone_New_York",
    "149_twt_emotion_happiness",
)
TOLERANCE = 0.002
TRAIN = 1024


def write(folder: Path) -> None:
    """Runs our cells into FOLDER/runs and writes the activations of each set."""
    from safetensors.numpy import save_file

    from arena.contract import Site
    from conf.schema import CacheConfig
    from results.metrics import auroc
    from results.record import Answers
    from results.store import Store
    from runners import column, run
    from runners.compose import composed

    store, ours = Store(folder / "runs"), {}
    for name in SETS:
        made = run.make(composed("run", ["experiment=sae_probes_compat", f"task.set={name}"]))
        (key,) = made.cells
        column.run(made, [key], store, CacheConfig(), replace=True)
        record = store.load(key)
        if record is None or not isinstance(record.test, Answers):
            raise SystemExit(f"{name}: {record.error if record else 'no record'}")
        ours[name] = {
            "auroc": auroc(record.test.truth, record.test.score[0]),
            "C": record.trials[0]["params"]["C"],
            "test": len(record.test.id),
        }
        reader = column.load_reader(made.model, (), None, CacheConfig().max_gb)
        prompts, _ = column.cut(reader, made.task.rows().prompts[:5000], made.task.max_tokens)  # type: ignore[attr-defined]
        import numpy as np

        save_file({"states": np.stack(reader.get(prompts, Site(15)))}, folder / f"{name}.safetensors")
    (folder / "ours.json").write_text(json.dumps(ours, indent=1))


def judge(folder: Path) -> None:
    """The package's own split and fit on our activations."""
    from sae_probes import utils_data
    from sae_probes.utils_training import find_best_reg
    from safetensors.torch import load_file

    ours = json.loads((folder / "ours.json").read_text())
    utils_data.get_xvals = lambda name, *_, **__: load_file(folder / f"{name}.safetensors")["states"]
    lines = [
        "| set | test rows | sae-probes | ours | difference | C theirs | C ours |",
        "|---|---|---|---|---|---|---|",
    ]
    worst = 0.0
    for name, mine in ours.items():
        rows = len(utils_data.get_yvals(name)[:5000])
        sets = utils_data.get_xy_traintest(min(rows - 100, TRAIN), name, "", "", folder)
        x_train, y_train, x_test, y_test = (a.numpy() if hasattr(a, "numpy") else a for a in sets)
        theirs = find_best_reg(x_train, y_train, x_test, y_test, seed=42)
        gap = mine["auroc"] - theirs.metrics.test_auc
        worst = max(worst, abs(gap))
        row = (name, len(y_test), f"{theirs.metrics.test_auc:.4f}", f"{mine['auroc']:.4f}", f"{gap:+.4f}",
               f"{theirs.classifier.C:.3g}", f"{mine['C']:.3g}")  # fmt: skip
        lines.append("| " + " | ".join(map(str, row)) + " |")
        print(lines[-1], flush=True)
    Path(__file__).with_suffix(".md").write_text(
        f"<!-- written by benchmarks/sae_probes_peer.py -->\nLargest difference: {worst:.4f}\n\n"
        + "\n".join(lines)
        + "\n"
    )
    print(f"largest difference {worst:.4f}")
    if worst > TOLERANCE:
        raise SystemExit(1)


if __name__ == "__main__":
    {"write": write, "judge": judge}[sys.argv[1]](Path(sys.argv[2]))
