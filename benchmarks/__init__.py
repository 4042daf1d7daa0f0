"""Speed and scale, as ratios in one run against a named alternative."""
