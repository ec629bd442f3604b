import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from pipeline.evaluating.metrics import score

LABELS = ["a", "b", "c"]
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1)


@given(pairs)
def test_agrees_with_scikit_learn(values) -> None:
    truth, predicted = [t for t, _ in values], [p for _, p in values]
    result = score(truth, predicted, LABELS)
    occurring = sorted({*truth, *predicted})
    macro = f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["macro_f1"] == pytest.approx(macro)
    counts = result["confusion"]["counts"]
    assert sum(map(sum, counts)) == result["n"] == len(values)
    for i, label in enumerate(LABELS):
        assert sum(counts[i]) == result["per_class"][label]["support"] == truth.count(label)


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no clip"):
        score([], [], LABELS)
