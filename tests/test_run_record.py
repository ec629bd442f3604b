import pytest

from pipeline.config import TrainSettings
from pipeline.errors import UserError
from pipeline.storage.run_record import RunRecord, read_run_record, write_run_record


def record(**train) -> RunRecord:
    return RunRecord(work="w", data_digest="d", card={}, train=train, environment={})


def test_it_is_read_as_it_was_written(tmp_path) -> None:
    assert read_run_record(tmp_path) is None
    written = record(**TrainSettings(seed=3).model_dump(mode="json"))
    write_run_record(tmp_path, written)
    assert read_run_record(tmp_path) == written


def test_a_run_older_than_a_setting_is_not_continued_by_another_rule(tmp_path) -> None:
    """Scores of two rules cannot be compared, so no later epoch would ever be the best."""
    now = TrainSettings().model_dump(mode="json")
    older = {key: now[key] for key in now if key not in ("choose_by", "mixup_within")}
    write_run_record(tmp_path, record(**now))
    text = (tmp_path / "run.json").read_text()
    (tmp_path / "run.json").write_text(text.replace('"choose_by": "loss",', ""))
    before = read_run_record(tmp_path)
    assert before is not None
    assert before == record(**older)
    with pytest.raises(UserError, match=r"train.choose_by=macro_f1, this command asks for loss"):
        before.refuse_other(record(**now), tmp_path)
    before.refuse_other(record(**now | {"choose_by": "macro_f1"}), tmp_path)


def test_another_setting_of_the_task_is_refused_by_its_name(tmp_path) -> None:
    def of(state: dict, **task) -> RunRecord:
        card = {"task": "forecast", "task_settings": task, "task_state": state}
        return record().model_copy(update={"card": card})

    begun = of({"leave": [[0.1]]})
    begun.refuse_other(of({"leave": [[0.1]]}), tmp_path)
    begun.refuse_other(of({}, horizon_steps=7), tmp_path)  # the default, written out
    with pytest.raises(UserError, match=r"was started with task.horizon_steps=7, .* asks for 3;"):
        begun.refuse_other(of({}, horizon_steps=3), tmp_path)
    with pytest.raises(UserError, match=r"task.unlabelled=ignore, .* for background"):
        of({}, unlabelled="ignore").refuse_other(begun, tmp_path)
    # before the labels, which follow from it
    first = of({}, unlabelled="ignore").model_copy(deep=True)
    first.card.update(labels=["a"])
    begun.card.update(labels=["a", "background"])
    with pytest.raises(UserError, match=r"task.unlabelled=ignore, .* for background"):
        first.refuse_other(begun, tmp_path)


def test_a_damaged_one_is_said(tmp_path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged; delete"):
        read_run_record(tmp_path)
