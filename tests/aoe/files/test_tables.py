"""Names and labels come back from tables as they were written; numbers come back as numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from aoe.files.tables import read_levels, read_table, write_parts, write_table

SCRIPTS = Path(__file__).parents[3] / "scripts"
ODD = ["NA", "N/A", "null", "None", "nan", "NaN", "inf", "1e3", "007", "1_000", "0x10", "True", "-", "", "2024-01-01"]
ODD += ["a,b", 'a "b"', "a\nb", "a\rb", "a\r\nb", " a ", "\ta", "#a", "=1+1", "\\", "\u2028", "深度求索", "🤖", "اسم"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_stay_text_and_numbers_stay_numbers(tmp_path, ending):
    table = pd.DataFrame({"variant": ODD, "label": ODD[::-1], "percent": np.linspace(0, 1, len(ODD)), "none": np.nan})
    table["layer"] = pd.array([None, *range(1, len(ODD))], dtype="Int64")
    table["answers"] = range(len(ODD))
    write_table(table, tmp_path / f"table.{ending}")
    back = read_table(tmp_path / f"table.{ending}")
    assert list(back.variant) == ODD and list(back.label) == ODD[::-1]
    assert list(back.percent) == pytest.approx(list(table.percent)) and back.none.isna().all()
    assert {column: str(back[column].dtype) for column in ("percent", "none", "layer", "answers")} == {
        "percent": "float64",
        "none": "float64",
        "layer": "Int64",
        "answers": "int64",
    }


@pytest.mark.parametrize("name", ODD)
def test_a_table_of_one_odd_name_keeps_it(tmp_path, name):
    # alone in its column, a name decides on what a reader takes the column for
    write_table(pd.DataFrame({"variant": [name], "cost": [1.0]}), tmp_path / "table.csv")
    assert list(read_table(tmp_path / "table.csv").variant) == [name]


def test_what_is_a_name_in_one_table_can_be_a_number_in_another(tmp_path):
    write_table(pd.DataFrame({"parent": ["1"], "weights": [3]}), tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv", numbers=["weights"]).weights.sum() == 3
    assert list(read_table(tmp_path / "table.csv").weights) == ["3"]


def test_columns_without_values_keep_their_type_in_parquet(tmp_path):
    # a benchmark that nobody could grade, whose table is joined to those of others
    write_table(pd.DataFrame({"variant": ["NA"], "right": [None], "category": [None]}), tmp_path / "none.parquet")
    write_table(pd.DataFrame({"variant": ["b"], "right": [1.0], "category": ["x"]}), tmp_path / "some.parquet")
    joined = pd.concat([read_table(tmp_path / f"{name}.parquet") for name in ("none", "some")], ignore_index=True)
    assert joined.right.dtype == float and joined.right.mean() == 1
    assert list(joined.category.fillna("")) == ["", "x"]


def test_tables_of_no_rows_are_read(tmp_path):
    write_table(pd.DataFrame(columns=["sweep", "measure"]), tmp_path / "table.csv")
    assert list(read_table(tmp_path / "table.csv").columns) == ["sweep", "measure"]


def test_a_table_is_written_in_parts_and_read_by_levels(tmp_path):
    parts = [pd.DataFrame({"level": ["a", "b"], "layer": [None, 2]}), pd.DataFrame({"level": ["b"], "layer": [None]})]
    parts.insert(1, parts[0][:0])
    parts = [part.astype({"level": "str", "layer": "Int64"}) for part in parts]
    assert write_parts(iter(parts), tmp_path / "table.parquet") == 3
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.parquet"), pd.concat(parts, ignore_index=True))
    assert list(read_levels(tmp_path / "table.parquet", ["b"]).layer.fillna(0)) == [2, 0]


def test_every_script_reads_and_writes_tables_in_one_place():
    calls = ("read_csv(", ".to_csv(", "read_parquet(", ".to_parquet(")
    others = [path for path in SCRIPTS.rglob("*.py") if path.name != "tables.py"]
    assert not [
        path for path in others for call in calls if call in path.read_text("utf-8").replace(f"def _{call}", "")
    ]
