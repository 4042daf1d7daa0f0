"""Sparse autoencoders: contenders on their latents, training and the dictionaries that ship."""
