"""The demonstration: two methods on long-tailed two-digit numbers, three seeds each; `tbmetrics demo` runs it."""
