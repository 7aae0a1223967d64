"""The one kind of error that is the user's to mend; the command line prints it as one line and exits with 1."""


class MinivisError(ValueError):
    """What was wrong, with the value, and what to do: one line."""


class WeightFileError(MinivisError):
    """A weights file that is damaged, hostile, or of a form nobody reads: the message names file and layer.

    The message may quote the file, so it is kept to one printable line of at most 600 characters.
    """

    def __init__(self, message):
        line = "".join(c if c.isprintable() else " " for c in str(message))
        super().__init__(line if len(line) <= 600 else f"{line[:400]} ... {line[-195:]}")
