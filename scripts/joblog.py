"""What every rule's script does around its work: print into the rule's log, end a user's mistake in one sentence."""

import sys
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from aoe import AoeError


@contextmanager
def logged(path):
    """Send stdout and stderr to the log file ``path``; an AoeError becomes one sentence, there and on the screen."""
    with open(path, "w", encoding="utf-8", buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
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
