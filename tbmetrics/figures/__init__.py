"""Figures drawn from a history with matplotlib on Agg, never through pyplot.

A module per area, whose `figures` yields (name, figure); `style` has their common look, `output` writes and shows them.
"""
