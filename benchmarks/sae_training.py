"""A TopK training step in sparse arithmetic beside SAELens' own dense one: same weights, same batches, in turns.

States are random, as wide as SmolLM2-135M's; the recipe is that of the shipped dictionaries. About three minutes.
Run: python -m benchmarks.sae_training
"""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer

from benchmarks.rows import Row, report
from methods.sae.fast_topk import SparseTopKTrainingSAE

D_IN, D_SAE, K, BATCH, STEPS = 576, 4608, 64, 2048, 12


def trainer(made: type[TopKTrainingSAE], weights: dict[str, torch.Tensor] | None) -> Any:
    """SAELens' trainer of an autoencoder, with given weights or its own first ones."""
    torch.manual_seed(0)
    sae = made(TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, device="cpu"))
    if weights:
        sae.load_state_dict(weights)
    settings = SAETrainerConfig(
        total_training_samples=STEPS * BATCH, train_batch_size_samples=BATCH, lr=2e-3, lr_end=2e-3, lr_warm_up_steps=0,
        lr_decay_steps=0, device="cpu", dead_feature_window=1000, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    return SAETrainer(settings, sae, data_provider=iter(()))


def main() -> None:
    """Prints tokens per second of both (medians), their ratio, and how far the weights are apart in the end."""
    dense = trainer(TopKTrainingSAE, None)
    sparse = trainer(SparseTopKTrainingSAE, copy.deepcopy(dense.sae.state_dict()))
    seconds: dict[Any, list[float]] = {dense: [], sparse: []}
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(D_IN, D_IN, generator=generator)
    for step in range(STEPS):
        batch = torch.randn(BATCH, D_IN, generator=generator) @ mix / D_IN**0.5
        for each in (dense, sparse) if step % 2 else (sparse, dense):
            start = time.perf_counter()
            each.step(batch)
            each.n_training_steps += 1
            seconds[each].append(time.perf_counter() - start)
    rates = {each: BATCH / statistics.median(taken[2:]) for each, taken in seconds.items()}
    other = dense.sae.state_dict()
    apart = max(float((w - other[name]).norm() / other[name].norm()) for name, w in sparse.sae.state_dict().items())
    print(
        f"SAELens' dense step {rates[dense]:,.0f} tokens/s, sparse {rates[sparse]:,.0f}: "
        f"{rates[sparse] / rates[dense]:.1f} times as fast; weights differ by {apart:.1e} of their norm in the end"
    )
    ours, theirs = (f"{rates[each]:,.0f} tok/s" for each in (sparse, dense))
    name = "SAE training: a sparse TopK step against SAELens' dense one"
    report([Row(name, ours, theirs, f"{rates[sparse] / rates[dense]:.1f}")])


if __name__ == "__main__":
    main()
