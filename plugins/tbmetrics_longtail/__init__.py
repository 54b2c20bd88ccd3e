"""The Long Tail tab of TensorBoard: head, medium and tail compared between runs."""
