"""What tbmetrics costs and how fast it is, beside its peers, in turns; see docs/benchmarks.md."""
