"""Text as passages: white space tidied, long texts cut where paragraphs, lines or sentences end."""

from __future__ import annotations

import re
import unicodedata

MOST = 200  # words of a passage

LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u2060\ufeff\ufffd\ud800-\udfff]")
_INNER_SPACE = re.compile(r"(?<=\S)[^\S\n]+(?=\S)")
_TRAILING_SPACE = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")
_TOKEN = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*$")


def tidy(text: str) -> str:
    """Control characters and runs of white space removed; case, punctuation, lines and their indentation stay."""
    text = _CONTROL.sub("", unicodedata.normalize("NFC", LINE_ENDS.sub("\n", text)))
    text = _INNER_SPACE.sub(" ", text.expandtabs(4))
    return _BLANK_LINES.sub("\n\n", _TRAILING_SPACE.sub("", text)).strip("\n")


def cut(text: str, most: int = MOST) -> list[str]:
    """A text as passages of at most `most` words, ended by a paragraph if one ends in the second half, else by a line,
    a sentence, or a word; the last passage has a quarter of `most` or more."""
    spans = [word.span() for word in _TOKEN.finditer(text)]

    def ends(i: int) -> tuple[int, int]:
        before, gap = text[spans[i - 1][0] : spans[i - 1][1]], text[spans[i - 1][1] : spans[i][0]]
        return (3 if gap.count("\n") > 1 else 2 if "\n" in gap else 1 if _SENTENCE_END.search(before) else 0), i

    passages, start = [], 0
    while len(spans) - start > most:
        latest = start + min(most, len(spans) - start - most // 4)
        end = max(map(ends, range(start + most // 2, latest + 1)))[1]
        passages.append(text[spans[start][0] : spans[end - 1][1]])
        start = end
    return passages + ([text[spans[start][0] : spans[-1][1]]] if spans else [])
