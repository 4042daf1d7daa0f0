"""The ground both sides stand on: the nouns, the model, and the one door to it."""
