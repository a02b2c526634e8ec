"""Delete what runs have made, for `make clean`: .snakemake, and everything in results but its README.md.

Usage: python scripts/launcher/clean.py [--yes]

Answers may have taken GPUs days, so they are deleted only after a yes: on the terminal, or by ``--yes``.  This program
needs no package, as the project's environment may be gone already.
"""

import os
import shutil
import sys
from pathlib import Path

RESULTS, CACHE = Path("results"), Path(".snakemake")
KEPT = {"README.md"}  # of results, in version control
ANSWERS = ("answers", "verdicts")  # folders of a study: the models' answers, and the judge's


def made() -> list[Path]:
    """Return the paths that `make clean` deletes.  Of links, only the link is deleted."""
    paths = [path for path in RESULTS.glob("*") if path.name not in KEPT] if not RESULTS.is_symlink() else [RESULTS]
    return sorted(paths) + [CACHE] * os.path.lexists(CACHE)


def answers_in(paths: list[Path]) -> list[tuple[Path, int, int]]:
    """Return (folder, files, bytes) of the answers that would be deleted with the paths."""
    folders = [path / name for path in paths if not path.is_symlink() for name in ANSWERS]
    sizes = {folder: _sizes(folder) for folder in folders if folder.is_dir() and not folder.is_symlink()}
    return [(folder, len(found), sum(found)) for folder, found in sizes.items() if found]


def _sizes(folder: Path) -> list[int]:
    """Return the size in bytes of every file below a folder."""
    return [os.lstat(Path(place, file)).st_size for place, _, files in os.walk(folder) for file in files]


def is_agreed(answers: list[tuple[Path, int, int]]) -> bool:
    """List the answers, and ask on the terminal whether they may be deleted; raise SystemExit without a terminal."""
    print("These answers would be deleted:", file=sys.stderr)
    for folder, files, size in answers:
        print(f"  {folder}: {files} file{'s' * (files != 1)}, {size / 1e6:.1f} MB", file=sys.stderr)
    if not sys.stdin.isatty():
        sys.exit("`make clean` deletes answers only if it can ask on a terminal, or is called as `make clean YES=1`.")
    try:
        return input("Delete them, and everything else that runs have made? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def delete(path: Path) -> None:
    """Delete a folder with its content, a file, or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main(agreed: bool) -> None:
    """Delete what runs have made; agreed: also answers, without asking."""
    paths = made()
    answers = answers_in(paths)
    if answers and not agreed and not is_agreed(answers):
        sys.exit("Nothing was deleted.")
    for path in paths:
        try:
            delete(path)
        except OSError as error:
            sys.exit(f"{error.filename} cannot be deleted ({error.strerror}); the rest of {path} may still be there.")


if __name__ == "__main__":
    main(agreed=sys.argv[1:] == ["--yes"])
