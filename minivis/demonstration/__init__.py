"""The demonstration: every technique on photographs that are already there, as one page of pictures."""
