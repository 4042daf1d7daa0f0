"""The sparse probe's opponent on the model's own neurons."""

from __future__ import annotations

from arena.contract import NEURONS, ContenderMeta, Site, depth
from baselines.topk_residual import TopkResidual


class TopkNeurons(TopkResidual):
    """Logistic regression on the k MLP neurons whose class means differ most.

    The rule of `sae_probe` (selection, scaling, penalties, the same k) on the activations a [d_mlp] that enter the last
    linear map of the MLP of block `layer`, centred on train. Scores [n, classes] are margins. Source: k-sparse probes
    on neurons (Gurnee et al. 2023).
    """

    meta = ContenderMeta("topk_neurons", version=2, family="baseline", access=("labels", "internals"))

    def site(self, layers: int) -> Site:
        return Site(depth(self.layer, layers), self.pooling, features=NEURONS)
