"""Training dynamics: gradients, weights, activations, and the health of training."""

from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer
from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

__all__ = ["AttentionVisualizer", "GradientTracker"]
