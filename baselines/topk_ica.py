"""The sparse probe's opponent on the independent components of the SAE's own corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from arena.contract import ContenderMeta
from arena.selection import FewLatents

if TYPE_CHECKING:
    from arena.contract import Examples
    from arena.lab import Lab


class TopkIca(FewLatents):
    """Logistic regression on the k independent components whose class means differ most.

    The rule of `sae_probe` (selection, scaling, penalties, the same k) on the independent components (FastICA,
    Hyvarinen and Oja 2000) of some of the activations that the SAE was trained on (50,000 tokens, by its card; FastICA
    may stop before it converges, which the card tells); centred on train. Scores [n, classes] are margins. Source: the
    ICA baseline of Cunningham et al. 2023.
    """

    meta = ContenderMeta("topk_ica", version=2, family="baseline", access=("labels", "internals", "unlabelled text"))

    def features(self, examples: Examples, lab: Lab) -> np.ndarray:
        return np.asarray(self.codes(examples, lab).toarray())
