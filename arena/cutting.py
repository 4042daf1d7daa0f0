"""Texts cut to a number of tokens, as all contenders see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arena.activations import Reader


def cut(reader: Reader, texts: Sequence[str], max_tokens: int, left: bool = True) -> tuple[list[str], int]:
    """Texts shortened to `max_tokens` tokens, and how many were; all contenders see these.

    Prompts lose what is on the left, responses what is on the right.
    """
    known = reader.cuts.setdefault((max_tokens, left), {})  # seeds share most of their texts
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known |= zip(new, _shortened(reader, new, max_tokens, left), strict=True)
    found = [known[text] for text in texts]
    return [text if short is None else short for text, short in zip(texts, found, strict=True)], sum(
        short is not None for short in found
    )


def _shortened(reader: Reader, texts: list[str], max_tokens: int, left: bool) -> Iterator[str | None]:
    """For each text what is left of it; None where all is."""
    if not texts:
        return
    tokenizer = reader.loaded.tokenizer
    told = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    for i, (text, ids) in enumerate(zip(texts, told["input_ids"], strict=True)):
        if len(ids) <= max_tokens:
            yield None
        elif not tokenizer.is_fast:
            yield str(tokenizer.decode(ids[-max_tokens:] if left else ids[:max_tokens]))
        elif left:
            yield text[told["offset_mapping"][i][-max_tokens][0] :]
        else:
            yield text[: told["offset_mapping"][i][max_tokens - 1][1]]
