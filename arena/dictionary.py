"""Sparse autoencoders: dictionaries of directions in the residual stream, and their random counterparts.

`arena.dictionaries` finds and loads them. This file needs torch only where numbers are computed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, vstack

from arena.contract import FairfightError
from arena.sae_format import CARD

if TYPE_CHECKING:
    import torch

CHUNK_BYTES = 64 << 20  # of dense latents at a time, when many states are encoded

# A pooling of latents [tokens, d_sae]: of a piece of a text, and of two pieces; a mean is divided when the text ends.
_REDUCE: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "last": (lambda part: part[-1], lambda _, new: new),
    "mean": (lambda part: part.sum(0), lambda old, new: old + new),
    "max": (lambda part: part.amax(0), lambda old, new: old.maximum(new)),
}
_VARIANTS = 1  # bump when `randomised` or `shuffled` makes another dictionary of the same seed


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Frozen weights in float32 on a device; `encode` and `decode` compute as SAELens does at inference.

    Decoder norms that scale latents (`rescale_acts_by_decoder_norm`) are folded into the weights. `linear` is a plain
    basis, such as PCA's: its latents are signed and dense.
    """

    location: str  # as the user gave it
    architecture: str  # see sae_format.ARCHITECTURES; batchtopk and matryoshka are jumprelu
    layer: int  # the block whose output it reads, 0-based
    content: str  # see dictionaries.Identity
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
    normalisation: str = "none"  # of each input, undone on the output; see sae_format.NORMALISATIONS

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

    def pooled(self, texts: Iterable[np.ndarray], *poolings: str) -> list[csr_array]:
        """Latents [n, d_sae] float32 of n texts, each token encoded once and then pooled in each way.

        A text is its token states [tokens, d_in], the first token included. `last` is the last token; `mean` and
        `max` run over all tokens but the first, where there are others. Texts are taken one after the other, so a
        generator need not hold them; chunks of latents are of bounded memory, whatever a text's length.
        """
        for pooling in poolings:
            if pooling not in _REDUCE:
                raise FairfightError(f"Unknown pooling {pooling!r} of latents; choose one of {', '.join(_REDUCE)}.")
        if poolings == ("last",):
            return [self._encoded(text[-1] for text in texts)]
        blocks = [list(map(_sparse, pools)) for pools in self._reduced(texts, poolings)]
        return [self._stacked(block[i] for block in blocks) for i in range(len(poolings))]

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
                f"<number>}} into its {CARD}, so that its random counterpart can match it."
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

    def _reduced(self, texts: Iterable[np.ndarray], poolings: Sequence[str]) -> Iterator[list[torch.Tensor]]:
        """Pooled dense latents of texts in order, some at a time: [texts, d_sae] for each pooling."""
        import torch

        ways = [_REDUCE[pooling] for pooling in poolings]
        held: list[torch.Tensor] | None = None  # of the text that goes on in the next chunk
        for chunk in _packed(texts, self._rows):
            latents = self.encode(torch.from_numpy(np.concatenate([piece.states for piece in chunk])))
            done = []
            parts = latents.split([len(piece.states) for piece in chunk])
            for piece, part in zip(chunk, parts, strict=True):
                pools = [reduce(part) for reduce, _ in ways]
                if held is not None:
                    pools = [join(old, new) for (_, join), old, new in zip(ways, held, pools, strict=True)]
                held = None if piece.ends else pools
                if piece.ends:
                    done.append(
                        [p / piece.tokens if name == "mean" else p for name, p in zip(poolings, pools, strict=True)]
                    )
            if done:
                yield [torch.stack(column) for column in zip(*done, strict=True)]


def derived(content: str, variant: str) -> str:
    """Content of a variant (`random0`, `shuffled0`) of a dictionary with this content."""
    return hashlib.sha256(f"{content}/{variant}/{_VARIANTS}".encode()).hexdigest()


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
