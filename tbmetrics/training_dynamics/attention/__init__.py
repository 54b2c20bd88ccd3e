"""Attention maps of any model: capture, storage, statistics and pictures."""

from tbmetrics.training_dynamics.attention.tracker import AttentionVisualizer

__all__ = ["AttentionVisualizer"]
