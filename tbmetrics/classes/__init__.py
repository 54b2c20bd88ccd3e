"""Names and training counts of classes, and the rules that sort them into head, medium and tail."""
