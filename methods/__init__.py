"""Interpretability methods."""
