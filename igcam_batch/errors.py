"""The one error that a person's input can cause."""


class InputError(ValueError):
    """What was asked for cannot be done.

    The message names the thing, the value and the way out, reads as one line, and is safe to print: it holds no
    credentials and no traceback. The command line turns it into exit code 2.
    """
