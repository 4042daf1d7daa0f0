"""Hydra configuration: one YAML per choice, found through `pkg://conf`."""
