"""Is a dictionary any good? How much of a site's states and of the model's predictions its reconstructions keep.

Variance explained is one ratio of sums: 1 - sum ||x - x'||^2 / sum ||x - m||^2 over all tokens, m their mean. Two older
definitions are not used, because they are wrong: the mean over tokens of each token's own ratio (SAELens'
`explained_variance_legacy`), which lets tokens near the mean decide, and SAEBench's corrected one, whose m averages
squares, so that the variance that is left to explain comes out too large (.979 where .938 is right).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from arena.activations import Reader, batches, in_halves, pad, token_bar
from arena.contract import FairfightError
from arena.dictionary import CHUNK_BYTES, Dictionary

DENSE = 0.1  # a latent that fires on a larger share of tokens is dense
ABLATIONS = ("zero", "mean")


class Tally:
    """What a dictionary does to token states, summed as they come; memory is bounded by a chunk of latents."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.tokens = 0
        self.fires = np.zeros(dictionary.d_sae, np.int64)
        self._missed = self._squares = 0.0
        self._sum = np.zeros(dictionary.d_in)

    @torch.inference_mode()
    def add(self, states: np.ndarray, reconstruct: bool = True) -> None:
        """Counts states [n, d_in]; without `reconstruct` only which latents fire."""
        rows = max(1, CHUNK_BYTES // (4 * self.dictionary.d_sae))
        for start in range(0, len(states), rows):
            x = torch.from_numpy(states[start : start + rows].astype(np.float32)).to(self.dictionary.W_enc.device)
            latents = self.dictionary.encode(x)
            self.fires += (latents != 0).sum(0).cpu().numpy()
            self.tokens += len(x)
            if reconstruct:
                missed = x - self.dictionary.decode(latents, like=x)
                self._missed += float(missed.double().square().sum())
                self._squares += float(x.double().square().sum())
                self._sum += x.sum(0, dtype=torch.float64).cpu().numpy()

    @property
    def mean(self) -> np.ndarray:
        """The mean state, [d_in] float64."""
        return self._sum / self.tokens

    @property
    def explained(self) -> float:
        """Fraction of variance explained; 0 is what the mean alone would reach, and it may be below."""
        return 1 - self._missed / (self._squares - self.tokens * float(self.mean @ self.mean))

    @property
    def l0(self) -> float:
        """Latents that are not zero, per token."""
        return float(self.fires.sum() / self.tokens)

    @property
    def dense(self) -> float:
        """Share of latents that fire on more than a tenth of the tokens."""
        return float((self.fires > DENSE * self.tokens).mean())


@dataclass
class _Sums:
    """Cross-entropies and divergences over tokens."""

    tokens: int = 0
    clean: float = 0.0
    ce: tuple[float, float] = (0.0, 0.0)  # reconstructed, ablated
    kl: tuple[float, float] = (0.0, 0.0)


@torch.inference_mode()
def recovered(
    dictionary: Dictionary,
    reader: Reader,
    texts: Sequence[str],
    limit: float,
    *,
    tokens: int = 20_000,
    ablation: str = "zero",
    mean: np.ndarray | None = None,
) -> dict[str, Any]:
    """How much of the model's predictions survives when its states at the site are reconstructed.

    Over the first contexts of `texts` that hold `tokens` tokens to predict: ce_recovered = (CE_ablated - CE_sae) /
    (CE_ablated - CE_clean), kl_recovered = 1 - KL_sae / KL_ablated, both in nats per token, KL from the unedited
    model's prediction. Ablation puts zero in place of a state (SAEBench's definition), or `mean` [d_in]. Each context's
    first token, and states whose norm is above `limit`, stay as they are in all three runs; the prediction
    after the first token is not counted. Both are None where ablation does no harm that could be undone.
    """
    if ablation not in ABLATIONS:
        raise FairfightError(f"Unknown ablation={ablation!r}; choose one of {', '.join(ABLATIONS)}.")
    chosen: dict[int, list[int]] = {}
    found = 0
    for i, text in enumerate(texts):
        ids = reader.ids(text)
        if found >= tokens:
            break
        if len(ids) > 2:
            chosen[i] = ids
            found += len(ids) - 2
    sums = _Sums()
    put = np.zeros(dictionary.d_in) if ablation == "zero" or mean is None else mean
    device = reader.loaded.device
    with token_bar(found, f"predicting with {reader.loaded.name}") as bar:

        def compare(batch: list[int]) -> None:
            _compare(dictionary, reader, [chosen[i] for i in batch], limit, torch.from_numpy(put).to(device), sums)
            bar.update(sum(len(chosen[i]) - 2 for i in batch))

        for batch in batches(chosen, "cpu"):  # of few tokens: each has a row of the vocabulary
            in_halves(batch, compare)
    n = max(sums.tokens, 1)
    clean, (ce, ce_ablated), (kl, kl_ablated) = sums.clean / n, (v / n for v in sums.ce), (v / n for v in sums.kl)
    return {
        "ce_recovered": (ce_ablated - ce) / (ce_ablated - clean) if ce_ablated > clean else None,
        "kl_recovered": 1 - kl / kl_ablated if kl_ablated > 0 else None,
        "ce_clean": clean,
        "ce_sae": ce,
        "ce_ablated": ce_ablated,
        "kl_sae": kl,
        "kl_ablated": kl_ablated,
        "ablation": ablation,
        "ce_tokens": sums.tokens,
    }


def _compare(
    dictionary: Dictionary, reader: Reader, ids: list[list[int]], limit: float, put: torch.Tensor, sums: _Sums
) -> None:
    """Adds one batch: the model as it is, with reconstructed states, with ablated ones."""
    batch, lengths = pad(ids, reader.loaded.device)
    place = torch.arange(batch.shape[1], device=batch.device)[None]
    ends = torch.tensor(lengths, device=batch.device)[:, None]
    states: list[torch.Tensor] = []
    clean = _logits(reader, dictionary.layer, batch, states.append)
    x = states[0].to(batch.device).float()
    edited = (place > 0) & (place < ends) & (x.norm(dim=-1) <= limit)  # [rows, longest]
    asked = (place > 0) & (place < ends - 1)
    target = batch.roll(-1, dims=1)[asked]
    expected = clean[asked].float().log_softmax(-1)
    ce, kl = [], []
    for new in (dictionary.reconstruct(x[edited]), put.to(x.dtype)):
        patched = x.clone()
        patched[edited] = new.to(x)
        said = _logits(reader, dictionary.layer, batch, lambda old, patched=patched: patched.to(old))
        said = said[asked].float().log_softmax(-1)
        ce.append(_ce(said, target))
        kl.append(float((expected.exp() * (expected - said)).sum(-1).double().sum()))
    sums.tokens += len(target)  # all at the end: a batch without memory is tried again in halves
    sums.clean += _ce(expected, target)
    sums.ce = (sums.ce[0] + ce[0], sums.ce[1] + ce[1])
    sums.kl = (sums.kl[0] + kl[0], sums.kl[1] + kl[1])


def _ce(log_probabilities: torch.Tensor, target: torch.Tensor) -> float:
    return -float(log_probabilities.gather(1, target[:, None]).double().sum())


def _logits(reader: Reader, layer: int, batch: torch.Tensor, edit: Any) -> torch.Tensor:
    """Logits [rows, longest, vocabulary] with the output of a block put through `edit`; None leaves it as it is."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        whole = isinstance(output, torch.Tensor)
        new = edit(output if whole else output[0])
        return new if whole or new is None else (new, *output[1:])

    handle = reader.loaded.blocks[layer].register_forward_hook(hook)
    try:
        logits: torch.Tensor = reader.loaded.model(input_ids=batch, use_cache=False).logits
    finally:
        handle.remove()
    return logits


def quality(
    dictionary: Dictionary,
    reader: Reader,
    states: Iterable[np.ndarray],
    texts: Sequence[str],
    limit: float,
    *,
    ce_tokens: int = 20_000,
    ablation: str = "zero",
    more: Iterable[np.ndarray] = (),
    total: int = 0,
) -> dict[str, Any]:
    """A dictionary's numbers on held-out `states` (arrays [n, d_in]) and `texts`.

    `more` are further states on which a latent may show that it is not dead; `total` says how many states all are, for
    the progress bar. See `Tally` and `recovered`.
    """
    reader.fits(dictionary.location, dictionary)
    held, also = Tally(dictionary), Tally(dictionary)
    with token_bar(total, "encoding") as bar:
        for array in states:
            held.add(array)
            bar.update(len(array))
        for array in more:
            also.add(array, reconstruct=False)
            bar.update(len(array))
    return {
        "fraction_variance_explained": held.explained,
        "l0": held.l0,
        "dead_fraction": float(((held.fires + also.fires) == 0).mean()),
        "dead_tokens": held.tokens + also.tokens,
        "dense_fraction": held.dense,
        "held_out_tokens": held.tokens,
        **recovered(dictionary, reader, texts, limit, tokens=ce_tokens, ablation=ablation, mean=held.mean),
    }
