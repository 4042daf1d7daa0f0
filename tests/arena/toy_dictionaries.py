"""Small sparse autoencoders with random weights, as folders, and SAELens' own numbers of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from arena.dictionaries import load
from arena.dictionary import Dictionary

D, M, K = 24, 96, 8
HOOK = "blocks.7.hook_resid_post"


def tensors(seed: int = 0, **extra: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights of a standard autoencoder, with biases and decoder norms that matter."""
    g = torch.Generator().manual_seed(seed)
    norms = torch.rand(M, 1, generator=g) * 2 + 0.2
    return {
        "W_enc": torch.randn(D, M, generator=g) / D**0.5,
        "W_dec": torch.randn(M, D, generator=g) / D**0.5 * norms,
        "b_enc": torch.randn(M, generator=g),
        "b_dec": torch.randn(D, generator=g) * 3,
        **extra,
    }


def threshold(seed: int = 5) -> torch.Tensor:
    return torch.rand(M, generator=torch.Generator().manual_seed(seed)) * 6


def states(*shape: int, seed: int = 1) -> torch.Tensor:
    """States as a residual stream has them: off centre, some ten units wide."""
    return torch.randn(*shape, D, generator=torch.Generator().manual_seed(seed)) * 8 + 2


def write(folder: Path, weights: dict[str, torch.Tensor] | None = None, **cfg: Any) -> str:
    """A folder as SAELens leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    base = {"architecture": "standard", "d_in": D, "d_sae": M, "metadata": {"hook_name": HOOK}}
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in (base | cfg).items() if v is not None}))
    save_file(tensors() if weights is None else weights, folder / "sae_weights.safetensors")
    return str(folder)


def theirs(folder: str | Path, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and reconstruction by SAELens itself, in float32."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder, dtype="float32")
    with torch.no_grad():
        latents = sae.encode(x)
        return latents, sae.decode(latents)


def same(ours: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest number: what float32 leaves of long sums of both signs."""
    torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def agrees(folder: str | Path, x: torch.Tensor) -> Dictionary:
    """Our dictionary of a folder, after comparing it with SAELens."""
    latents, out = theirs(folder, x)
    ours = load(str(folder))
    same(ours.encode(x), latents)
    same(ours.decode(latents, like=x), out)
    same(ours.reconstruct(x), out)
    assert 0 < (latents > 0).float().mean() < 1
    return ours


def saved(folder: Path, architecture: str, **options: Any) -> Path:
    """A folder saved by SAELens' inference class, with random weights."""
    from sae_lens import registry

    made, config = registry.get_sae_class(architecture)
    sae = made(config(d_in=D, d_sae=M, **options))
    sae.cfg.metadata.hook_name = HOOK
    random = tensors(threshold=threshold(), b_gate=threshold(6) - 3, b_mag=threshold(7) - 3, r_mag=threshold(8) / 6)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(random[name])
    sae.save_model(folder)
    return folder
