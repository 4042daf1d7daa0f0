"""What a board's records say about common assumptions: pairs of contenders that differ in what is assumed alone."""

from __future__ import annotations

from dataclasses import dataclass

from results.table import Table

ASKED = {  # the question, a contender, and the one that it is laid beside
    "detect": (
        ("Does it take the model, or do words do?", "linear_probe", "bag_of_words"),
        ("Does it take a trained model?", "linear_probe", "untrained_model"),
        ("Is one direction enough, or does a curved boundary add?", "mlp", "linear_probe"),
        ("Is the difference of means the direction?", "diff_in_means", "linear_probe"),
        ("Is one layer enough, or do several add?", "multi_site_probe", "linear_probe"),
        ("Are an SAE's latents better than random ones?", "sae_probe", "random_sae"),
        ("Are an SAE's latents better than the state that they are read from?", "sae_probe", "linear_probe"),
        ("Is one latent enough?", "sae_latent", "sae_probe"),
        ("Does asking say as much as reading states?", "zero_shot", "linear_probe"),
    ),
    "steer": (
        ("Does a direction steer at all, or does any?", "diff_in_means", "random_direction"),
        ("Does asking steer better than a direction?", "prompt_steering", "diff_in_means"),
        ("Does finetuning steer better than a direction?", "lora_steering", "diff_in_means"),
        ("Is a learned direction better than the difference of means?", "supervised_vector", "diff_in_means"),
        ("Are an SAE's latents better than random ones?", "sae_max_pool", "random_sae_max_pool"),
        ("Are an SAE's latents better than a difference of means?", "sae_max_pool", "diff_in_means"),
    ),
}
HOW = "Differences with 95 % intervals, adjusted for nothing: for looking, where verdicts decide."


@dataclass(frozen=True)
class Answer:
    """A question, the two contenders that tell, and how far the first stands above the second."""

    question: str
    one: str
    two: str
    gap: tuple[float, float, float]  # mean, low, high

    @property
    def told(self) -> str:
        _, low, high = self.gap
        return "above" if low > 0 else "below" if high < 0 else "not told apart"


def assumptions(table: Table) -> list[Answer]:
    """Those questions whose two contenders have every cell, where there are families (or concepts) enough."""
    pairs = [(q, one, two, table.against(one, two)) for q, one, two in ASKED[table.board.track]]
    return [Answer(q, one, two, gap) for q, one, two, gap in pairs if gap is not None]
