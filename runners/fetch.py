"""`fairfight fetch`: downloads the assets and converts the default model, once."""

from __future__ import annotations

import importlib.util
import sys

from arena import assets
from arena.models import ModelSpec, load
from runners.compose import raw


def command(words: list[str]) -> int:
    """Fetches the named assets, or all of them."""
    for name in words or assets.pins():
        print(f"{name} {assets.pin(name).version}: {assets.wheel(name)}", file=sys.stderr)
    if not words and importlib.util.find_spec("torch"):
        load(ModelSpec(**raw("model", "smollm2_135m")))
    return 0
