"""A concept direction made of latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from arena.contract import Brief, ContenderMeta, Examples, FairfightError, Intervention, Pooling
from arena.probing import push
from arena.selection import Coded

if TYPE_CHECKING:
    from arena.lab import Lab


class SaeDiffInMeans(Coded):
    """The difference of the class means in latent space, its `k` largest entries kept, decoded to a direction.

    With z [d_sae] the mean of a text's latents over its tokens and g = mean of z over class 1 - mean over the others,
    v [d] = sum of g_i W_dec[i] over the k latents whose g_i W_dec[i] are longest. `steer(s)` adds v at every token, s
    times the mean norm of the training texts' reconstructions far. Source: difference in means (Marks and Tegmark
    2024) on SAE latents, of which few are kept, as in sparse steering vectors (SAE-TS, Chalnev et al. 2024, chooses
    them by effect).
    """

    meta = ContenderMeta(
        "sae_diff_in_means",
        version=1,
        family="method",
        access=("labels", "internals", "unlabelled text"),
        control="random_sae_diff_in_means",
    )

    pooling: Pooling = "mean"

    def __init__(self, dictionary: str = "middle", k: int = 16) -> None:
        self.dictionary = dictionary
        self.k = k

    def fit(self, train: Examples, brief: Brief, lab: Lab) -> Self:
        if self.k < 1:
            raise FairfightError(f"k={self.k} latents point nowhere; give 1 or more.")
        codes, own = self.codes(train, lab), train.truth == 1
        code = lab.dictionary(self.dictionary)
        self.block_, decoder = code.layer, code.W_dec.float().cpu().numpy()
        gap = np.asarray(codes[own].mean(0) - codes[~own].mean(0)).ravel()
        worth = np.abs(gap) * np.linalg.norm(decoder, axis=1)
        kept = np.argsort(-worth, kind="stable")[: self.k]
        self.vector_: np.ndarray = gap[kept] @ decoder[kept]
        rebuilt = codes @ decoder + code.b_dec.float().cpu().numpy()
        self.norm_ = float(np.linalg.norm(rebuilt, axis=1).mean())
        return self

    def steer(self, strength: float) -> Intervention:
        return push(self.vector_, self.norm_, self.block_, strength)
