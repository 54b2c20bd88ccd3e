"""Streaming class performance: which classes fail, by head, medium and tail."""
