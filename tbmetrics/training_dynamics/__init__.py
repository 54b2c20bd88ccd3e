"""Training dynamics: gradients, weights, activations, and the health of training."""

from tbmetrics.training_dynamics.attention import AttentionVisualizer
from tbmetrics.training_dynamics.gradients import GradientTracker

__all__ = ["AttentionVisualizer", "GradientTracker"]
