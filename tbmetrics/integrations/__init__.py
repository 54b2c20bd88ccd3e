"""Callbacks for frameworks that run the training loop themselves; each module needs its framework, and only that."""
