"""Gradients, weights and activations: hooks, samples of steps, and their records."""

from tbmetrics.training_dynamics.gradients.tracker import GradientTracker

__all__ = ["GradientTracker"]
