"""Read sparse autoencoders: dictionaries of directions in the residual stream, and their random counterparts.

A dictionary is a folder in SAELens' format (`cfg.json`, `sae_weights.safetensors`, perhaps a `card.json` that tells
of its training), in a place that a location names: the folder's path, `pkg://package/folder` inside an installed
package, or `saelens://release/id` for a release that SAELens lists, which is downloaded and converted to such a
folder once. `identify` needs no torch, so that a finished sweep costs seconds; `load` does. Nothing is unpickled.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.resources
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from filelock import FileLock
from scipy.sparse import csr_array, vstack

from arena import assets
from arena.contract import FairfightError

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 64 << 20  # of dense latents at a time, when many states are encoded
ARCHITECTURES = ("standard", "gated", "topk", "jumprelu", "linear")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
POOLINGS = ("last", "mean", "max")

_CONFIG, _WEIGHTS, _CARD = "cfg.json", "sae_weights.safetensors", "card.json"
_RELEASED, _PACKAGED = "saelens://", "pkg://"
_CONVERSION = 1  # bump when the conversion of releases changes
_VARIANTS = 1  # bump when `randomised` or `shuffled` makes another dictionary of the same seed
_PICKLED = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
# SAELens' loaders that read numpy arrays or safetensors; its others unpickle, or hold no autoencoders of one site.
_LOADERS = ("sae_lens", "gemma_2", "gemma_3", "llama_scope", "llama_scope_r1_distill")
_BATCH_TOPK = ("batchtopk", "matryoshka_batchtopk")  # at inference they are a JumpReLU with one threshold
_STREAM = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")  # TransformerLens' names
_BLOCK = re.compile(r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.output)?")  # a decoder block by its module's name


@dataclass(frozen=True)
class Identity:
    """What is known of a dictionary before its weights are read; `content` enters a record's key."""

    content: str  # sha256 over cfg.json, sae_weights.safetensors and, where no k says it, the L0
    architecture: str  # one of ARCHITECTURES
    layer: int  # the block whose output it reads, 0-based
    d_in: int
    d_sae: int
    card: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Frozen weights in float32 on a device; `encode` and `decode` compute as SAELens does at inference.

    Decoder norms that scale latents (`rescale_acts_by_decoder_norm`) are folded into the weights. `linear` is a plain
    basis, such as PCA's: its latents are signed and dense.
    """

    location: str  # as the user gave it
    architecture: str  # one of ARCHITECTURES; batchtopk and matryoshka are jumprelu
    layer: int  # the block whose output it reads, 0-based
    content: str  # see Identity
    card: Mapping[str, Any]  # what card.json says, where there is one
    W_enc: torch.Tensor  # [d_in, d_sae]
    W_dec: torch.Tensor  # [d_sae, d_in]
    b_dec: torch.Tensor  # [d_in]
    b_enc: torch.Tensor | None = None  # [d_sae]; of a gated one the gate's
    b_mag: torch.Tensor | None = None  # [d_sae], gated
    gain: torch.Tensor | None = None  # [d_sae], gated: of the magnitudes over the gate (exp of SAELens' r_mag)
    threshold: torch.Tensor | None = None  # [d_sae], jumprelu
    k: int | None = None  # topk
    l0: float | None = None  # latents active per token, as the card, else the metadata, says
    centred: bool = True  # whether b_dec is subtracted from the input
    normalisation: str = "none"  # of each input, undone on the output; one of NORMALISATIONS

    @property
    def d_in(self) -> int:
        return int(self.W_enc.shape[0])

    @property
    def d_sae(self) -> int:
        return int(self.W_enc.shape[1])

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents [..., d_sae] of states [..., d_in]; dense, float32, on the dictionary's device."""
        x = self._normalised(self._states(x))
        hidden = (x - self.b_dec if self.centred else x) @ self.W_enc
        if self.architecture == "linear":
            return hidden
        if self.architecture == "gated":
            return (hidden * self.gain + self.b_mag).relu() * (hidden + self.b_enc > 0)
        hidden = hidden + self.b_enc
        if self.architecture == "topk":
            values, where = hidden.topk(self.k, dim=-1, sorted=False)
            return hidden.new_zeros(hidden.shape).scatter(-1, where, values.relu())
        return hidden.relu() * (hidden > self.threshold) if self.architecture == "jumprelu" else hidden.relu()

    def decode(self, latents: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
        """States [..., d_in] of latents [..., d_sae].

        A dictionary that normalises each input undoes it with the statistics of `like` [..., d_in], the states that
        were encoded; the others ignore it.
        """
        out = latents.to(self.W_dec) @ self.W_dec + self.b_dec
        if self.normalisation == "none":
            return out
        if like is None:
            raise FairfightError(
                f"The dictionary {self.location} normalises its input ({self.normalisation}), so decoding needs the "
                f"states that were encoded: decode(latents, like=states)."
            )
        mean, scale = self._statistics(self._states(like))
        return out * scale + mean

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        """decode(encode(x)) for states [..., d_in]."""
        return self.decode(self.encode(x), like=x)

    def encode_sparse(self, states: np.ndarray) -> csr_array:
        """Latents [n, d_sae] float32 of states [n, d_in], encoded in chunks of bounded memory."""
        return self._encoded(states)

    def decode_sparse(self, latents: csr_array, like: np.ndarray) -> np.ndarray:
        """States [n, d_in] float32 of sparse latents [n, d_sae], in chunks of bounded memory; `like` as in `decode`."""
        import torch

        decoded = [np.empty((0, self.d_in), np.float32)]
        for start in range(0, latents.shape[0], self._rows):
            some = slice(start, start + self._rows)
            dense = torch.from_numpy(latents[some].toarray())
            decoded.append(self.decode(dense, torch.from_numpy(like[some])).cpu().numpy())
        return np.concatenate(decoded)

    def pooled(self, texts: Iterable[np.ndarray], pooling: str = "last") -> csr_array:
        """Latents [n, d_sae] float32 of n texts, each token encoded and then pooled.

        A text is its token states [tokens, d_in], the first token included. `last` is the last token; `mean` and
        `max` run over all tokens but the first, where there are others. Texts are taken one after the other, so a
        generator need not hold them; chunks of latents are of bounded memory, whatever a text's length.
        """
        if pooling not in POOLINGS:
            raise FairfightError(f"Unknown pooling {pooling!r} of latents; choose one of {', '.join(POOLINGS)}.")
        if pooling == "last":
            return self._encoded(text[-1] for text in texts)
        return self._stacked(_sparse(rows) for rows in self._reduced(texts, pooling))

    def randomised(self, seed: int) -> Dictionary:
        """The control `random_sae`: random unit directions of the same number, at the same sparsity.

        Gaussian directions of unit norm as decoder, their transpose as encoder, centred on the original's b_dec
        (which estimates the data's mean, in normalised space where inputs are normalised). A top-k activation gives
        every token as many active latents as the original: its k, else its L0, rounded. A `linear` one stays linear.
        """
        import torch

        linear = self.architecture == "linear"
        k = None if linear else self._sparsity()
        rows = torch.randn(self.d_sae, self.d_in, generator=torch.Generator().manual_seed(seed))
        rows = (rows / rows.norm(dim=1, keepdim=True)).to(self.W_dec.device)
        return dataclasses.replace(
            self,
            location=f"{self.location}@random{seed}",
            architecture="linear" if linear else "topk",
            content=derived(self.content, f"random{seed}"),
            card={"training_tokens": 0} | ({} if linear else {"l0": k}),
            W_enc=rows.T.contiguous(),
            W_dec=rows,
            b_enc=None if linear else rows.new_zeros(self.d_sae),
            b_mag=None,
            gain=None,
            threshold=None,
            k=k,
            l0=k,
            centred=True,
        )

    def shuffled(self, seed: int) -> Dictionary:
        """The control `sae_shuffled`: the same latents, with the decoder's directions permuted among them."""
        import torch

        order = torch.randperm(self.d_sae, generator=torch.Generator().manual_seed(seed)).to(self.W_dec.device)
        return dataclasses.replace(
            self,
            location=f"{self.location}@shuffled{seed}",
            content=derived(self.content, f"shuffled{seed}"),
            W_dec=self.W_dec[order],
        )

    def _sparsity(self) -> int:
        """How many latents a token activates."""
        if self.k is not None:
            return self.k
        if self.l0 is None:
            raise FairfightError(
                f'The dictionary {self.location} does not say how many latents a token activates; write {{"l0": '
                f"<number>}} into its {_CARD}, so that its random counterpart can match it."
            )
        return min(max(1, round(self.l0)), self.d_sae)

    def _states(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.d_in:
            raise FairfightError(
                f"The dictionary {self.location} reads states of width {self.d_in} and got {x.shape[-1]}: it belongs "
                f"to another model; choose others with dictionaries=..."
            )
        return x.to(self.W_enc)

    def _statistics(self, x: torch.Tensor) -> tuple[torch.Tensor | float, torch.Tensor]:
        """What the normalisation takes away of states: mean and scale, [..., 1]."""
        if self.normalisation == "layer_norm":
            return x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return 0.0, x.norm(dim=-1, keepdim=True) / math.sqrt(self.d_in)

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        if self.normalisation == "none":
            return x
        mean, scale = self._statistics(x)
        epsilon = 1e-5 if self.normalisation == "layer_norm" else 0.0  # SAELens': on the way in, not out
        return (x - mean) / (scale + epsilon)

    @property
    def _rows(self) -> int:
        """States that are encoded at a time."""
        return max(1, CHUNK_BYTES // (4 * self.d_sae))

    def _encoded(self, states: Iterable[np.ndarray]) -> csr_array:
        """Sparse latents of states [d_in], one a row."""
        import torch

        rows = iter(states)
        chunks = iter(lambda: list(islice(rows, self._rows)), [])
        return self._stacked(_sparse(self.encode(torch.from_numpy(np.stack(chunk)))) for chunk in chunks)

    def _stacked(self, blocks: Iterable[csr_array]) -> csr_array:
        empty = csr_array((0, self.d_sae), dtype=np.float32)
        return vstack([empty, *blocks], format="csr", dtype=np.float32)

    def _reduced(self, texts: Iterable[np.ndarray], pooling: str) -> Iterator[torch.Tensor]:
        """Pooled dense latents of texts in order, some at a time: [texts, d_sae]."""
        import torch

        held: torch.Tensor | None = None  # of the text that goes on in the next chunk
        for chunk in _packed(texts, self._rows):
            latents = self.encode(torch.from_numpy(np.concatenate([piece.states for piece in chunk])))
            done = []
            parts = latents.split([len(piece.states) for piece in chunk])
            for piece, part in zip(chunk, parts, strict=True):
                pool = part.amax(0) if pooling == "max" else part.sum(0)
                if held is not None:
                    pool = torch.maximum(held, pool) if pooling == "max" else held + pool
                held = None if piece.ends else pool
                if piece.ends:
                    done.append(pool / piece.tokens if pooling == "mean" else pool)
            if done:
                yield torch.stack(done)


def derived(content: str, variant: str) -> str:
    """Content of a variant (`random0`, `shuffled0`) of a dictionary with this content."""
    return hashlib.sha256(f"{content}/{variant}/{_VARIANTS}".encode()).hexdigest()


def identify(location: str) -> Identity:
    """What a dictionary is, from its cfg.json and a hash of its weights; a release is fetched first, once."""
    folder = _folder(location)
    config = _read_config(folder, location)
    digest = hashlib.sha256()
    for name in (_CONFIG, _WEIGHTS):
        digest.update(f"{name}\0{_file_hash(_present(folder, name, location))}\n".encode())
    card = _json(folder / _CARD, location) if (folder / _CARD).is_file() else {}
    if config.architecture not in ("topk", "linear"):  # its random counterpart takes its sparsity from here
        digest.update(f"l0\0{card.get('l0', config.l0)}\n".encode())
    return Identity(digest.hexdigest(), config.architecture, config.layer, config.d_in, config.d_sae, card)


def load(location: str, device: str = "cpu") -> Dictionary:
    """The dictionary at a location, in float32 on a device.

    Raises FairfightError, in one sentence, for what is missing, damaged, pickled, of another architecture or read
    elsewhere than in the residual stream.
    """
    identity = identify(location)
    folder = _folder(location)
    config = _read_config(folder, location)
    tensors = _read_weights(folder / _WEIGHTS, config, location)
    if config.rescaled:
        # Latents are in units of the decoder's norms: the same numbers with the norms moved into the encoder.
        norms = tensors["W_dec"].norm(dim=1).clamp(min=1e-8)
        tensors["W_enc"] = tensors["W_enc"] * norms
        tensors["b_enc"] = tensors["b_enc"] * norms
        tensors["W_dec"] = tensors["W_dec"] / norms[:, None]
    l0 = identity.card.get("l0", config.l0)
    return Dictionary(
        location=location,
        architecture=config.architecture,
        layer=config.layer,
        content=identity.content,
        card=identity.card,
        **{name: tensor.to(device).contiguous() for name, tensor in tensors.items()},
        k=config.k,
        l0=float(l0) if isinstance(l0, (int, float)) else None,
        centred=config.centred,
        normalisation=config.normalisation,
    )


@dataclass(frozen=True)
class _Config:
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


@dataclass(frozen=True)
class _Piece:
    """Consecutive tokens of one text: their states, whether the text ends here, and how many tokens count in all."""

    states: np.ndarray
    ends: bool
    tokens: int


def _packed(texts: Iterable[np.ndarray], rows: int) -> Iterator[list[_Piece]]:
    """Token states in order, in chunks of at most `rows`; the first token of a longer text is left out."""
    chunk: list[_Piece] = []
    free = rows
    for text in texts:
        counted = text[min(1, len(text) - 1) :]
        start = 0
        while start < len(counted):
            taken = counted[start : start + free]
            start += len(taken)
            free -= len(taken)
            chunk.append(_Piece(taken, start == len(counted), len(counted)))
            if not free:
                yield chunk
                chunk, free = [], rows
    if chunk:
        yield chunk


def _sparse(dense: torch.Tensor) -> csr_array:
    """[n, m] without its zeros."""
    rows, columns = dense.nonzero(as_tuple=True)
    values = dense[rows, columns].cpu().numpy()
    bounds = np.zeros(len(dense) + 1, dtype=np.int32)
    bounds[1:] = rows.bincount(minlength=len(dense)).cumsum(0).cpu().numpy()
    return csr_array((values, columns.cpu().numpy().astype(np.int32), bounds), shape=tuple(dense.shape))


def _folder(location: str) -> Path:
    """The folder that a location names; a release is fetched and converted first."""
    if location.startswith(_RELEASED):
        return _converted(location)
    if location.startswith(_PACKAGED):
        return _packaged(location)
    folder = Path(location).expanduser()
    if folder.suffix in _PICKLED:
        raise FairfightError(
            f"The dictionary {location} is a pickled file, which is never read; save it as a folder with {_CONFIG} "
            f"and {_WEIGHTS} (SAELens: sae.save_model)."
        )
    if not folder.is_dir():
        raise FairfightError(
            f"The dictionary {location} is no folder; give one with {_CONFIG} and {_WEIGHTS}, "
            f"{_PACKAGED}package/folder, or {_RELEASED}release/id."
        )
    return folder


def _packaged(location: str) -> Path:
    package, _, inside = location.removeprefix(_PACKAGED).partition("/")
    try:
        folder = Path(str(importlib.resources.files(package) / inside))
    except (ModuleNotFoundError, ValueError, TypeError):
        raise FairfightError(
            f"The package {package!r} of the dictionary {location} is not installed; install it, or check the name."
        ) from None
    if not folder.is_dir():
        raise FairfightError(
            f"The package {package!r} holds no folder {inside!r} for the dictionary {location}; check the name."
        )
    return folder


def _present(folder: Path, name: str, location: str) -> Path:
    """The path of a file that must be there."""
    if not (folder / name).is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLED)
        found = f" (it holds {pickled[0]}, which is pickled and never read)" if pickled else ""
        raise FairfightError(
            f"The dictionary {location} has no {name}{found}; save it in SAELens' format (sae.save_model)."
        )
    return folder / name


def _file_hash(path: Path) -> str:
    """sha256 of a file; files of gigabytes are read once per process."""
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _hash_once(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - what tells a file from its successor
    return assets.sha256(path)


def _json(path: Path, location: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        content = error
    if not isinstance(content, dict):
        raise FairfightError(f"The {path.name} of the dictionary {location} is no JSON object; save it again.")
    return content


def _read_config(folder: Path, location: str) -> _Config:
    return _parse(_json(_present(folder, _CONFIG, location), location), location)


def _parse(cfg: Mapping[str, Any], location: str) -> _Config:
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
                f"The {_CONFIG} of the dictionary {location} gives {name}={size}; write a whole number from 1 upwards."
            )
    if k is not None and k > cfg["d_sae"]:
        raise FairfightError(f"The dictionary {location} keeps k={k} of {cfg['d_sae']} latents; correct its {_CONFIG}.")
    return _Config(
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
            f'The {_CONFIG} of the dictionary {location} does not say where it reads; write "hook_name": '
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


def _read_weights(path: Path, config: _Config, location: str) -> dict[str, torch.Tensor]:
    """The tensors that `Dictionary` has of its architecture, float32, of the right shapes, finite."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise FairfightError(
            f"The {_WEIGHTS} of the dictionary {location} cannot be read ({error}); save or fetch it again."
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
                f"The {name} of the dictionary {location} is of shape {list(tensors[name].shape)} where {_CONFIG} says "
                f"{list(shape)}; save or fetch it again."
            )
        if not tensors[name].isfinite().all():
            raise FairfightError(
                f"The {name} of the dictionary {location} holds NaN or infinity; train or fetch it again."
            )
    if config.architecture == "gated":
        tensors |= {"b_enc": tensors.pop("b_gate"), "gain": tensors.pop("r_mag").exp()}
    return tensors


def _shapes(config: _Config) -> dict[str, tuple[int, ...]]:
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


def _converted(location: str) -> Path:
    """Folder with a release of SAELens', fetched and converted once, then reused."""
    release, _, sae_id = location.removeprefix(_RELEASED).partition("/")
    target = assets.cache_dir() / "dictionaries" / f"{quote(f'{release}/{sae_id}', safe='')}-v{_CONVERSION}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f"{target.name}.lock"):
        if not target.is_dir():
            with assets.atomic_path(target) as partial:
                _convert(release, sae_id, location, partial)
    return target


def _convert(release: str, sae_id: str, location: str, target: Path) -> None:
    """Fetches a release through SAELens, which folds its normalisation, and writes what `load` reads.

    The files hold nothing of the machine or of SAELens' version, so that equal weights have equal hashes.
    """
    try:
        saelens = importlib.import_module("sae_lens")
        directory = importlib.import_module("sae_lens.loading.pretrained_saes_directory")
    except ImportError as error:
        raise FairfightError(
            f"The dictionary {location} is fetched by the package sae-lens, which is not installed ({error}); "
            f"install it with: pip install -c constraints.txt -e '.[sae]'"
        ) from error
    listed = _listed(release, sae_id, location, directory.get_pretrained_saes_directory())
    try:
        sae = saelens.SAE.from_pretrained(release, sae_id, device="cpu")
    except Exception as error:  # whatever the network or the hub does
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FairfightError(
            f"The dictionary {location} could not be fetched ({reason}); check the network and, where its repository "
            f"is gated, the licence and your token."
        ) from error
    cfg = sae.cfg.to_dict()
    cfg = {name: cfg[name] for name in sorted(cfg) if name not in ("device", "dtype", "metadata")}
    cfg["metadata"] = {name: getattr(sae.cfg.metadata, name, None) for name in ("model_name", "hook_name")}
    _parse(cfg, location)  # an unknown architecture or site is refused before it is kept
    from safetensors.torch import save_file

    target.mkdir()
    save_file({name: tensor.float().contiguous() for name, tensor in sae.state_dict().items()}, target / _WEIGHTS)
    (target / _CONFIG).write_text(json.dumps(cfg, indent=1))
    (target / _CARD).write_text(json.dumps(listed, indent=1))


def _listed(release: str, sae_id: str, location: str, directory: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a release: what SAELens' table says of it; a sentence where the table has no such release."""
    if release not in directory:
        raise FairfightError(
            f"SAELens knows no release {release!r} (dictionary {location}); it knows, for example, "
            f"{_nearest(release, directory)}."
        )
    entry = directory[release]
    if sae_id not in entry.saes_map:
        raise FairfightError(
            f"The release {release!r} has no id {sae_id!r} (dictionary {location}); it has, for example, "
            f"{_nearest(sae_id, entry.saes_map)}."
        )
    loader = entry.conversion_func or "sae_lens"
    if loader not in _LOADERS:
        raise FairfightError(
            f"The dictionary {location} is read by SAELens' loader {loader!r}, which unpickles files or reads no "
            f"autoencoder of one site; choose another release."
        )
    # The folders of Gemma Scope name the measured L0; the table's own number is sometimes another's.
    named = re.search(r"average_l0_(\d+)", entry.saes_map[sae_id])
    l0 = float(named[1]) if named else entry.expected_l0[sae_id]
    card = {"release": release, "id": sae_id, "model": entry.model, "repository": entry.repo_id}
    return {**card, **({"l0": l0} if l0 else {})}


def _nearest(name: str, known: Iterable[str]) -> str:
    """A few known names, those most like a wrong one first."""
    import difflib

    names = list(known)
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3])
