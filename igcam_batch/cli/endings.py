"""How a command ends: whatever a person can mend is one line, and an exit code that says of what kind it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from igcam_batch.audit.errors import IncompleteError, StoppedError
from igcam_batch.errors import InputError
from igcam_batch.words import printable

EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED, EXIT_INTERRUPTED = 1, 2, 75, 130  # 75: EX_TEMPFAIL, to be run again
PROGRAM = "igcam-batch"


@contextmanager
def ending_in_one_line(program: str = PROGRAM) -> Iterator[None]:
    """End the process for what the block raises; `program` is who says so."""
    try:
        yield
    except InputError as error:
        fail(str(error), EXIT_INPUT, program)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(EXIT_INPUT)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        way_out = f"; see `{context.command_path} --help`" if context else ""
        fail(f"{error.format_message().removesuffix('.')}{way_out}", EXIT_INPUT, program)
    except IncompleteError as error:
        fail(str(error), EXIT_FAILED, program)
    except StoppedError as error:
        fail(str(error), EXIT_STOPPED, program)
    except OSError as error:  # a full disk, a place that went away
        fail(f"{error.filename or 'files'}: {error.strerror or error}", EXIT_FAILED, program)
    except (KeyboardInterrupt, click.Abort) as error:  # click makes the one of the other
        fail(str(error.__cause__ or error) or "interrupted", EXIT_INTERRUPTED, program)


def fail(message: str, code: int, program: str = PROGRAM) -> NoReturn:
    """Say why, and end the process."""
    click.echo(f"{program}: {printable(message)}", err=True)
    sys.exit(code)
