"""The one kind of error that is the user's to mend; the command line prints it as one line and exits with 1."""


class MinivisError(ValueError):
    """What was wrong, with the value, and what to do: one line."""


class WeightFileError(MinivisError):
    """A weights file that is damaged, hostile, or of a form nobody reads: the message names file and layer."""
