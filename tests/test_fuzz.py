"""A hundred mutations of real containers through the real command: one row each, none made up."""

import csv
import re

import pytest

from tests.conftest import framewave
from tests.fuzz import mutated, write_mutations, write_seeds

pytestmark = pytest.mark.end_to_end


def test_a_hundred_damaged_files_get_one_true_row_each(journey, tmp_path) -> None:
    folder, table = tmp_path / "files", tmp_path / "p.csv"
    write_mutations(folder, range(100))
    done = framewave("classify", folder, "--run", journey.run, "--out", table)
    assert "Traceback" not in done.stderr
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(str(p) for p in folder.iterdir())
    for row in rows:
        assert bool(row["predicted"]) == (row["status"] in ("ok", "partial")), row
        # a file read whole may have a remark on how
        assert row["error"] or row["status"] == "ok", row
        if row["status"] == "ok" and row["error"]:
            assert re.search(
                "all of it is read|stands for both|hold the last|sound tracks", row["error"]
            ), row
        assert row["status"] not in ("crashed", "timeout"), row


def test_mutations_depend_on_their_number_alone(tmp_path) -> None:
    seeds = [path.read_bytes() for path in write_seeds(tmp_path / "seeds")]
    assert [mutated(seeds, n) for n in range(30)] == [mutated(seeds, n) for n in range(30)]
    assert len({mutated(seeds, n)[0] for n in range(60)}) > 5
