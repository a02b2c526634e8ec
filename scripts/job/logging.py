"""What every rule's script does around its work: print into the rule's log, end a user's mistake in one sentence."""

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from aoe import AoeError, AoeWarning


@contextmanager
def logged(path: Path | str) -> Iterator[None]:
    """Send stdout and stderr to the log file ``path``; an AoeError or AoeWarning becomes one sentence, there and on the
    screen."""
    with (
        open(path, "w", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always", AoeWarning)
        warnings.showwarning = _shown_by(warnings.showwarning, log)
        try:
            yield
        except AoeError as error:
            sentence = f"ERROR: {error}"
            print(sentence, file=log)
            print(sentence, file=sys.__stderr__)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit("interrupted")
        except Exception:  # a bug of ours: its traceback belongs into the log too, and the job still fails
            traceback.print_exc(file=log)
            raise


def _shown_by(otherwise, log):
    """What shows a warning: an AoeWarning in the log and on the screen, any other as before."""

    def show(message, category, *where, **more):
        if not issubclass(category, AoeWarning):
            otherwise(message, category, *where, **more)
            return
        for stream in (log, sys.__stderr__):
            print(f"Warning: {message}", file=stream, flush=True)

    return show
