"""Training dynamics: gradients, weights, activations, and the health of training."""
