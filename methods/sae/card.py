"""A dictionary on disk: SAELens' two files, and beside them a card for machines and a page for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from arena.contract import FairfightError
from arena.sae_format import CARD, CONFIG, WEIGHTS

PAGE = "README.md"
DTYPES = ("float32", "float16")
NAMES = {
    "standard": "sparse autoencoder (ReLU, L1 penalty)",
    "gated": "gated sparse autoencoder",
    "topk": "TopK sparse autoencoder",
    "batchtopk": "BatchTopK sparse autoencoder",
    "matryoshka_batchtopk": "Matryoshka BatchTopK sparse autoencoder",
    "jumprelu": "JumpReLU sparse autoencoder",
    "pca": "principal components",
    "ica": "independent components (FastICA)",
}

LEFT_OUT = {  # of the corpus: see methods.sae.corpus
    "duplicates": "duplicates",
    "too_short": "too short",
    "shares_words": "with many words in a row of a prompt",
    "holds_a_prompt": "with a whole short prompt",
    "near_duplicate": "near-duplicates of a prompt",
}


def write_weights(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any], dtype: str) -> None:
    """cfg.json and sae_weights.safetensors of a folder, in `dtype`; nothing in them is of the machine."""
    cast = {name: tensor.to("cpu", getattr(torch, dtype)).contiguous() for name, tensor in sorted(tensors.items())}
    if not all(bool(tensor.isfinite().all()) for tensor in cast.values()):
        raise FairfightError(f"The weights hold values that dtype={dtype} cannot; give dtype=float32.")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(cast, folder / WEIGHTS)
    (folder / CONFIG).write_text(_json({**config, "dtype": dtype, "device": "cpu"}))


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """card.json and the page made of it."""
    (folder / CARD).write_text(_json(card))
    (folder / PAGE).write_text(page(card))


def page(card: Mapping[str, Any]) -> str:
    """A dictionary's page, in Markdown, from its card alone."""
    kind, recipe, harvest = NAMES.get(card["architecture"], card["architecture"]), card["recipe"], card["harvest"]
    passages = card["corpus"]["total"]
    again = card["tokens_seen"] > card["training_tokens"]
    often = f"{card['tokens_seen']:,} seen with repetition" if again else "each seen once"
    numbers = [
        ("variance explained", _share(card["fraction_variance_explained"])),
        ("L0 (latents that are not zero, per token)", f"{card['l0']:.1f} of {card['d_sae']:,}"),
        ("cross-entropy recovered", _share(card["ce_recovered"])),
        ("KL divergence recovered", _share(card["kl_recovered"])),
        (f"dead latents (none fired on {card['dead_tokens']:,} tokens)", _share(card["dead_fraction"])),
        ("dense latents (fire on more than 10 % of tokens)", _share(card["dense_fraction"])),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in numbers)
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in recipe.items() if value not in (None, {}, []))
    licences = "\n".join(f"- {name}: {licence}" for name, licence in card["licences"].items())
    sources = ", ".join(f"{name} ({counts['kept']:,})" for name, counts in card["corpus"]["sources"].items())
    dropped = ", ".join(f"{passages[name]:,} {what}" for name, what in LEFT_OUT.items())
    return f"""# {card["name"]}

{kind[0].upper()}{kind[1:]} of the residual stream of {card["model"]["name"]} (`{card["model"]["id"]}`) after block \
{card["site"]} (0-based), width {card["d_in"]}, {card["d_sae"]:,} latents, {card["dtype"]}. Written by \
`fairfight train-sae`; made of `card.json`, which holds every number.

## Quality

On {card["held_out_tokens"]:,} tokens of passages that were never trained on; cross-entropy and KL on \
{card["ce_tokens"]:,} of them, against {card["ablation"]}-ablation of the site ({card["ce_clean"]:.3f} nats per token \
as it is, {card["ce_sae"]:.3f} reconstructed, {card["ce_ablated"]:.3f} ablated).

| | |
|---|---|
{table}

Variance explained is 1 - sum of squared errors / sum of squared distances from the mean, over all tokens. Every
context's first token (an attention sink of massive norm) and the \
{harvest["train_outliers"] + harvest["held_outliers"]:,} tokens of more than ten times the median norm are left out of
training and numbers, and stay as they are when predictions are compared.

## How it was made

```
{card["command"]}
```

- Trained on {card["training_tokens"]:,} tokens, {often}, in \
{card["seconds"]["training"]:,.0f} s; contexts of {harvest["context"]} tokens.
- {settings[0].upper()}{settings[1:]}.
- Text, in passages: {sources}.
- Of {passages["read"]:,} passages read, {passages["kept"]:,} were kept and these left out, held against \
{card["corpus"]["prompts"]["given"]:,} prompts of this project's tasks: {dropped}.

## Licences

{licences}

## Limits

Fitted to the text above and to one model; latents were neither named nor checked for absorption or splitting.
Prompts of one to three words (names) cannot be kept out of a corpus.
"""


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.1f} %"


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) if isinstance(value, Mapping) else f"{value}"


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"
