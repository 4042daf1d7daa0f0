"""`fairfight evaluate-sae`: the numbers of dictionaries, whoever trained them, on held-out text."""

from __future__ import annotations

import json
from typing import Any

import hydra
from omegaconf import DictConfig

from arena import assets
from arena.activations import Reader
from arena.cache import Cache
from arena.contract import FairfightError
from arena.dictionaries import Dictionaries
from arena.models import ModelSpec, load
from conf.schema import register
from methods.sae import harvest, quality
from runners import run
from runners.corpus import corpus
from runners.train_sae import check, table

register()


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="evaluate_sae")
def main(config: DictConfig) -> None:
    """One job. Hydra calls it once, or once per point of a sweep."""
    run.attempt(config, job)


def job(frame: dict[str, Any]) -> None:
    """Prints one row per dictionary, as a Markdown table or as JSON."""
    check(frame)
    names = frame["dictionary"] if isinstance(frame["dictionary"], list) else [frame["dictionary"]]
    if not names:
        raise FairfightError("No dictionary was given; name one, as in dictionary=path/to/folder.")
    reader = Reader(load(ModelSpec(**frame["model"])), Cache(assets.cache_dir() / "activations"))
    known = Dictionaries(frame["dictionaries"], reader.loaded.device)
    for name in names:
        reader.fits(name, known[name])  # before minutes of reading
    text = corpus(frame["corpus"], frame["model"])
    # Passages are held out by their hash: of a larger share some were trained on.
    trained = [dict(known[name].card.get("harvest", {})).get("held_out", 1.0) for name in names]
    found = harvest.reap(
        reader, text.passages, sorted({known[name].layer for name in names}), 0, frame["tokens"],
        context=frame["context"], held_out=min(frame["held_out"], *trained),
    )  # fmt: skip
    rows = []
    for name in names:
        dictionary = known[name]
        mine = found[dictionary.layer]
        numbers = quality.quality(
            dictionary, reader, (shard.states() for shard in mine.held), mine.texts, mine.limit,
            ce_tokens=frame["ce_tokens"], ablation=frame["ablation"], total=sum(s.tokens for s in mine.held),
        )  # fmt: skip
        about = {"site": dictionary.layer, "architecture": dictionary.architecture, "d_sae": dictionary.d_sae}
        rows.append({"dictionary": name, **about, "content": dictionary.content, **numbers})
    print(json.dumps(rows, indent=1) if frame["format"] == "json" else table(rows))
