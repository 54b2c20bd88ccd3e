"""Two runs compared: group means, movers, groups drawn anew, and the conditions of `compare --fail-if`."""
