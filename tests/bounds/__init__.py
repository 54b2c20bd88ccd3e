"""The matrix of versions: the lowest that are declared and the newest that there are, on every Python that is found."""
