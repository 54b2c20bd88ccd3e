"""Figures drawn from a history, with matplotlib on Agg."""
