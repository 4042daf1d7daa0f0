"""Remeasures the catalogue of sae-probes sets: rows and groups after cleaning, overlaps between sets.

Prints every set whose `rows` or `groups` differ from `tasks/sae_probes_sets.yaml`, and every pair of sets
that share 20 prompts or more. About five minutes. Run: python -m benchmarks.catalogue
"""

from __future__ import annotations

import itertools

from tqdm import tqdm

from tasks.sae_probes import SaeProbes, catalogue, every


def main() -> None:
    """Exits with an error if the catalogue is out of date."""
    stale, prompts = [], {}
    for name, known in tqdm(every().items(), unit="set"):
        examples, report = SaeProbes(name).data
        if name in catalogue():  # the others hold the binary ones' rows again
            prompts[name] = set(examples.ids)
        if (report.rows, report.groups) != (known["rows"], known["groups"]):
            stale.append(f"{name}: rows {report.rows}, groups {report.groups}, catalogued {known}")
    for one, two in itertools.combinations(prompts, 2):
        shared = len(prompts[one] & prompts[two])
        if shared >= 20:
            print(f"{shared:5d} prompts in common: {one}, {two}")
    print(
        f"{sum(map(len, prompts.values()))} rows in {len(prompts)} binary sets; {len(stale)} differ from the catalogue"
    )
    if stale:
        raise SystemExit("\n".join(stale))


if __name__ == "__main__":
    main()
