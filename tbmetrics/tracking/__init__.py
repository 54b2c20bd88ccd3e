"""What every tracker stands on: the protocol, batches, checks, copies to the host, ranks, state and hooks."""
