"""tbmetrics: which classes fail, why, and at what cost, in TensorBoard."""
