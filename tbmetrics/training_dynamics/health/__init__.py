"""Whether training is healthy: vanishing and exploding gradients, dead units, NaN and infinity."""
