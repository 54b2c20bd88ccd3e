"""What the classes are: names, training counts, and the rules that sort them into head, medium and tail."""
