"""Records to event files and back."""
