"""Shared parts of all trackers: base class, batches, checks, copies to the host, ranks, state and hooks."""
