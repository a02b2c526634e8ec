"""What the library has to know of a benchmark: its name in print, how it is sampled, what it costs, who grades it.

The benchmarks themselves are defined outside of the library, in ``benchmarks.registry``, which registers them here when
it is imported.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aoe import AoeError

JUDGE, SANDBOX, COMPARED = "judge", "sandbox", "compared"


class Benchmark(Protocol):
    """A benchmark as the library sees it.

    name: in studies and in columns of tables; title: in print; short_title: on axes, with line breaks (empty:
    the title); turns: answers to a question; sampling: ``temperature``
    (None: each question has its own), ``top_p`` and ``max_tokens`` where a study states none; graded_by: COMPARED (with
    right answers, or with rules), JUDGE or SANDBOX.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def short_title(self) -> str: ...
    @property
    def turns(self) -> int: ...
    @property
    def sampling(self) -> Mapping[str, Any]: ...
    @property
    def graded_by(self) -> str: ...


Table = Mapping[str, Benchmark]
_registered: list[Callable[[], Table]] = []


def register(table: Callable[[], Table]) -> None:
    """Make benchmarks known: ``table()`` returns name -> Benchmark, and is called when the first one is needed."""
    _registered[:] = [table]


def benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name.  Raises AoeError if there is none."""
    known = _known()
    if name not in known:
        raise AoeError(f"There is no benchmark {name!r}; there are {', '.join(sorted(known))}.")
    return known[name]


def graded_by(names: Mapping[str, Any] | list[str], grader: str) -> list[str]:
    """Return those of several benchmarks that a grader grades: COMPARED, JUDGE or SANDBOX."""
    return [name for name in names if benchmark(name).graded_by == grader]


def title_of(name: str) -> str:
    """Return the name of a benchmark in print; that of something else is itself."""
    known = _known()
    return known[name].title if name in known else name


def short_title_of(name: str) -> str:
    """Return the name of a benchmark on an axis; that of something else is itself."""
    known = _known()
    return known[name].short_title or known[name].title if name in known else name


def _known() -> Table:
    if not _registered:
        raise RuntimeError("no benchmarks are registered: import benchmarks.registry first")
    return _registered[0]()
