"""Resource usage: component times, throughput and memory of training."""
