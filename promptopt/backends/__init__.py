"""The backends: one file a way of reaching a model."""
