"""What can be said of two runs: group means, movers, and the conditions of `compare --fail-if`."""
