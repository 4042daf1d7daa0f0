"""A labelled data set of the Hugging Face hub, or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arena import tables
from arena.contract import FairfightError, first_line
from tasks.table import TableTask


class Hub(TableTask):
    """`task=hub task.id=stanfordnlp/imdb task.text=text task.label=label`; see `TableTask`.

    `split` names the data set's splits to take rows from (Fairfight makes its own train and test of
    them); `revision` is resolved to a commit, which is what a record keeps.
    """

    def __init__(
        self,
        id: str,
        text: str = "text",
        label: str = "label",
        group: str | None = None,
        stratum: str | None = None,
        config: str | None = None,
        split: str = "train",
        revision: str = "main",
        name: str | None = None,
        classes: Sequence[str] | None = None,
        words: Sequence[str] | None = None,
        question: str | None = None,
        noun: str = "text",
        family: str | None = None,
        max_tokens: int = 256,
    ) -> None:
        title = name or Path(id).name
        commit = tables.content_hash(Path(id)) if Path(id).is_dir() else tables.hub_commit(id, revision)
        source = f"{Path(id).name if Path(id).is_dir() else id}" + (f"/{config}" if config else "") + f", split {split}"
        super().__init__(
            _load(id, config, split, commit),
            text=text, label=label, group=group, stratum=stratum, classes=classes, words=words,
            question=question, noun=noun, family=family or title, max_tokens=max_tokens,
            meta={
                "name": title, "source": source, "revision": f"{commit}/{config or ''}/{split}",
                "licence": "see the data set's card", "citation": id if not Path(id).is_dir() else "",
            },
        )  # fmt: skip


def _load(id: str, config: str | None, split: str, commit: str) -> tables.Columns:
    from datasets import load_dataset

    revision = None if Path(id).is_dir() else commit
    try:
        return tables.columns_of(load_dataset(id, config, split=split, revision=revision))
    except Exception as error:  # datasets raises many kinds, and its messages name the options
        raise FairfightError(
            f"The data set {id!r} could not be loaded ({first_line(error)}); check task.config, task.split and "
            f"the network."
        ) from error
