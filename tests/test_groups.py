from data_prep.dataset.groups import infer_groups
from data_prep.dataset.manifest import ManifestRow


def rows(*paths: str, group: str = "") -> list[ManifestRow]:
    return [ManifestRow(f"/d/{p}", label=p.split("/")[0], group=group) for p in paths]


def test_a_column_wins() -> None:
    done, note = infer_groups(rows("a/1.mp4", "a/2.mp4", group="g"), True)
    assert {row.group for row in done} == {"g"}
    assert "group column" in note


def test_subfolders_are_groups_where_there_are_enough() -> None:
    paths = [f"{label}/cam{c}/{i}.mp4" for label in "ab" for c in range(3) for i in range(2)]
    done, note = infer_groups(rows(*paths), True)
    assert {row.group for row in done} == {"cam0", "cam1", "cam2"}
    assert "sub-folders" in note


def test_name_series_are_groups() -> None:
    paths = [f"{label}/day{c}_{i:03d}.mp4" for label in "ab" for c in range(4) for i in range(3)]
    done, note = infer_groups(rows(*paths), True)
    assert {row.group for row in done} == {"day0", "day1", "day2", "day3"}
    assert "series of file names" in note


def test_one_series_per_label_is_no_group() -> None:
    paths = [f"{label}/{label}_{i:03d}.mp4" for label in ("cat", "dog") for i in range(5)]
    done, note = infer_groups(rows(*paths), True)
    assert len({row.group for row in done}) == 10
    assert "every file stands alone" in note


def test_groups_that_the_manifest_alone_names_are_told() -> None:
    named = rows("a/1.mp4", group="g")[0]
    rest = rows("a/x.mp4", "b/y.mp4")
    done, note = infer_groups([named, *rest], True, has_column=False)
    assert note == "groups: 1 named in the manifest, other files alone"
    assert [row.group for row in done] == ["g", "/d/a/x.mp4", "/d/b/y.mp4"]
    _, again = infer_groups(done[1:], True, has_column=False)  # a file's own name is no group
    assert "none known" in again


def test_inference_can_be_switched_off() -> None:
    paths = [f"{label}/cam{c}/{i}.mp4" for label in "ab" for c in range(3) for i in range(2)]
    _, note = infer_groups(rows(*paths), False)
    assert "none known" in note


def test_segments_of_one_file_belong_together() -> None:
    long = [ManifestRow("/d/long.mp4", start_s=float(i), label="ab"[i % 2]) for i in range(6)]
    done, note = infer_groups(long, True)
    assert len({row.group for row in done}) == 1
    assert "segments" in note


def test_same_name_under_two_labels_is_no_series() -> None:
    paths = [f"{label}/{i}.mp4" for label in "ab" for i in range(6)]
    done, note = infer_groups(rows(*paths), True)
    assert len({row.group for row in done}) == 12
    assert "every file stands alone" in note
