"""Everything that an interpretability method has to beat, and the controls."""
