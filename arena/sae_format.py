"""SAELens' format of a sparse autoencoder: a folder with `cfg.json` and `sae_weights.safetensors`.

Both the names since SAELens 6 and the older ones are read; pickles never are. A `card.json` beside them may tell of the
training. Errors are one sentence that names the dictionary, the fault and the remedy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.contract import FairfightError

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("standard", "gated", "topk", "jumprelu", "linear")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
CONFIG, WEIGHTS, CARD = "cfg.json", "sae_weights.safetensors", "card.json"
PICKLED = (".pt", ".pth", ".bin", ".pkl", ".ckpt")

_BATCH_TOPK = ("batchtopk", "matryoshka_batchtopk")  # at inference they are a JumpReLU with one threshold
_STREAM = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")  # TransformerLens' names
_BLOCK = re.compile(r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.output)?")  # a decoder block by its module's name


@dataclass(frozen=True)
class Config:
    """cfg.json, whatever its age."""

    architecture: str
    layer: int
    d_in: int
    d_sae: int
    k: int | None
    l0: float | None
    centred: bool
    normalisation: str
    rescaled: bool  # latents are in units of the decoder's norms


def read_config(folder: Path, location: str) -> Config:
    return parse(read_json(present(folder, CONFIG, location), location), location)


def parse(cfg: Mapping[str, Any], location: str) -> Config:
    """What cfg.json says, with the names and defaults of SAELens before and since version 6."""
    known = {**cfg, **(cfg.get("metadata") or {})}
    stated = cfg.get("architecture") or "standard"
    activation = cfg.get("activation_fn_str") or cfg.get("activation_fn") or "relu"
    arguments = cfg.get("activation_fn_kwargs") or {}
    if activation == "topk":
        stated = "topk"
    elif activation != "relu":
        raise FairfightError(
            f"The dictionary {location} has the activation {activation!r}, which is not known; known are relu and topk."
        )
    architecture = "jumprelu" if stated in _BATCH_TOPK else stated
    if architecture not in ARCHITECTURES:
        raise FairfightError(
            f"The dictionary {location} has the architecture {stated!r}, which is not known; "
            f"known are {', '.join((*ARCHITECTURES, *_BATCH_TOPK))}."
        )
    layer = _layer(known, location)
    k = arguments.get("k", cfg.get("k")) if architecture == "topk" else None
    sizes = {"d_in": cfg.get("d_in"), "d_sae": cfg.get("d_sae")} | ({"k": k} if architecture == "topk" else {})
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise FairfightError(
                f"The {CONFIG} of the dictionary {location} gives {name}={size}; write a whole number from 1 upwards."
            )
    if k is not None and k > cfg["d_sae"]:
        raise FairfightError(f"The dictionary {location} keeps k={k} of {cfg['d_sae']} latents; correct its {CONFIG}.")
    return Config(
        architecture=architecture,
        layer=layer,
        d_in=cfg["d_in"],
        d_sae=cfg["d_sae"],
        k=k,
        l0=known.get("l0"),
        centred=architecture == "linear" or bool(cfg.get("apply_b_dec_to_input", True)),
        normalisation=_normalisation(cfg, location),
        rescaled=stated in ("topk", *_BATCH_TOPK) and bool(cfg.get("rescale_acts_by_decoder_norm", False)),
    )


def _normalisation(cfg: Mapping[str, Any], location: str) -> str:
    """How each input is normalised.

    `expected_average_only_in` is one factor for all inputs, which SAELens folds into the weights when it saves or
    fetches them; at inference it does nothing more (older files say true or false).
    """
    stated = cfg.get("normalize_activations") or "none"
    if stated in (True, "expected_average_only_in"):
        return "none"
    if stated not in NORMALISATIONS:
        raise FairfightError(
            f"The dictionary {location} normalises its input by {stated!r}, which is not known; known are "
            f"{', '.join((*NORMALISATIONS, 'expected_average_only_in'))} (SAELens folds others when training ends)."
        )
    return str(stated)


def _layer(known: Mapping[str, Any], location: str) -> int:
    """The block whose output is read: `resid_pre` of a block is the output of the one before."""
    hook = known.get("hook_name") or known.get("hook_point")
    if known.get("reshape_activations", "none") != "none":
        raise FairfightError(
            f"The dictionary {location} reads reshaped activations ({known['reshape_activations']}: attention heads); "
            f"choose one that reads the residual stream after a block (hook_resid_post)."
        )
    if hook is None:
        layer = known.get("hook_layer", known.get("hook_point_layer"))
        if isinstance(layer, int) and layer >= 0:
            return layer
        raise FairfightError(
            f'The {CONFIG} of the dictionary {location} does not say where it reads; write "hook_name": '
            f'"blocks.<n>.hook_resid_post" into its metadata.'
        )
    stream, block = _STREAM.fullmatch(hook), _BLOCK.fullmatch(hook)
    if block:
        return int(block[1])
    layer = int(stream[1]) - (stream[2] == "pre") if stream else -1
    if layer < 0:
        raise FairfightError(
            f"The dictionary {location} reads {hook}, which is no output of a decoder block; choose one that reads "
            f"the residual stream after a block (hook_resid_post)."
        )
    return layer


def read_weights(path: Path, config: Config, location: str) -> dict[str, torch.Tensor]:
    """The tensors that `Dictionary` has of its architecture, float32, of the right shapes, finite."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise FairfightError(
            f"The {WEIGHTS} of the dictionary {location} cannot be read ({error}); save or fetch it again."
        ) from error
    scaling = tensors.pop("scaling_factor", None)
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise FairfightError(
            f"The dictionary {location} has a finetuned scaling_factor, which is not known; multiply it into W_dec "
            f"and drop it."
        )
    if "topk_threshold" in tensors:  # of a training checkpoint
        tensors["threshold"] = tensors.pop("topk_threshold").expand(config.d_sae)
    shapes = _shapes(config)
    for name in sorted(shapes.keys() ^ tensors.keys()):
        fault = "lacks the tensor" if name in shapes else "has an unknown tensor"
        raise FairfightError(
            f"The dictionary {location} {fault} {name}; a {config.architecture} one has {', '.join(shapes)}."
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise FairfightError(
                f"The {name} of the dictionary {location} is of shape {list(tensors[name].shape)} where {CONFIG} says "
                f"{list(shape)}; save or fetch it again."
            )
        if not tensors[name].isfinite().all():
            raise FairfightError(
                f"The {name} of the dictionary {location} holds NaN or infinity; train or fetch it again."
            )
    if config.architecture == "gated":
        tensors |= {"b_enc": tensors.pop("b_gate"), "gain": tensors.pop("r_mag").exp()}
    return tensors


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """The tensors of an architecture in a file."""
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (config.d_in, config.d_sae),
        "W_dec": (config.d_sae, config.d_in),
        "b_dec": (config.d_in,),
    }
    biases = {
        "linear": (),
        "gated": ("b_gate", "b_mag", "r_mag"),
        "jumprelu": ("b_enc", "threshold"),
    }
    return shapes | dict.fromkeys(biases.get(config.architecture, ("b_enc",)), (config.d_sae,))


def present(folder: Path, name: str, location: str) -> Path:
    """The path of a file that must be there."""
    if not (folder / name).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED)
        found = f" (it holds {pickled[0]}, which is pickled and never read)" if pickled else ""
        raise FairfightError(
            f"The dictionary {location} has no {name}{found}; save it in SAELens' format (sae.save_model)."
        )
    return folder / name


def read_json(path: Path, location: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        content = error
    if not isinstance(content, dict):
        raise FairfightError(f"The {path.name} of the dictionary {location} is no JSON object; save it again.")
    return content
