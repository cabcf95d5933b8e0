"""The one error that a person's input can cause, and what any exception says as part of a line."""

_LONGEST = 500


class InputError(ValueError):
    """What was asked for cannot be done.

    The message names the thing, the value and the way out, reads as one line, and is safe to print: it holds no
    credentials and no traceback. The command line turns it into exit code 2.
    """


def one_line(error: BaseException) -> str:
    """What an exception says, in one line of 500 characters at most."""
    return " ".join(str(error).split())[:_LONGEST]


def one_line_with_kind(error: BaseException) -> str:
    """The same after the exception's name, as 'ValueError: no such thing'; the name alone where it says nothing."""
    said = one_line(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
