"""Locked dataset files as records, in the formats that the Hub's datasets come in."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aoe import AoeError

CSV_FIELD_CHARACTERS = 1 << 24  # a question with its solution is longer than the default of the module csv


def read_records(folder: Path | str, files: Iterable[str], needed: Sequence[str]) -> list[dict[str, Any]]:
    """Read the records (dicts) of a dataset's files, in the order of their names.

    files: names in the folder; those that end in .jsonl, .csv or .parquet are read; needed: fields that every record
    must have.  Raises AoeError if there are no records, a file is damaged, or a record lacks a field.
    """
    records = []
    for file in sorted(files):
        reader = READERS.get(Path(file).suffix)
        if reader is None:
            continue
        try:
            found = reader(Path(folder) / file)
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            raise AoeError(f"{Path(folder) / file} cannot be read as a dataset ({error}).") from error
        for number, record in enumerate(found, start=1):
            if not isinstance(record, dict):
                raise AoeError(f"{Path(folder) / file}: record {number} has no fields.")
            lacking = [field for field in needed if record.get(field) is None]
            if lacking:
                raise AoeError(f"{Path(folder) / file}: record {number} has no field {lacking[0]!r}.")
        records += found
    if not records:
        raise AoeError(f"{folder} has no file with records ({', '.join(READERS)}).")
    return records


def _read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]


def _read_csv(path):
    csv.field_size_limit(CSV_FIELD_CHARACTERS)
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _read_parquet(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


READERS = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
