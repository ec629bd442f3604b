"""What an audit found, in sentences, made from its summary as files hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.leak_audit.findings import Kind
from pipeline.text_format import counted, size_in_points

_WHAT = {
    Kind.SAME_BYTES: "the same file",
    Kind.SAME_SOUND: "the same sound",
    Kind.SAME_PICTURE: "the same picture",
    Kind.SAME_RECORDING: "one recording",
}
_OPTIMISTIC, _UNSEEN = 0.03, 0.1
FEWEST_GROUPS = 3
"""Fewer cannot be both trained on and judged by."""

Summary = Mapping[str, Any]


def summary_text(summary: Summary, accepted: bool = False) -> list[str]:
    """The answer first, then what to do."""
    sentences = [leaks(summary), conflicts(summary), others(summary), nothing(summary)]
    sentences += [proposal(summary, accepted), few_left(summary), optimism_text(summary)]
    return [sentence for sentence in sentences if sentence]


def nothing(summary: Summary) -> str:
    """Where nothing was found. Of an evaluation: what concerns the clips judged is all there is."""
    if any(summary[name]["n"] for name in ("leaks", "conflicts", "others")):
        return ""
    judged, known = summary["judged"], summary["trained_on"]
    if judged is not None:
        if known >= judged["n"]:
            return "All clips judged are among those that were trained on."
        rest = counted(judged["n"] - known, "clip")
        return (
            f"None of the {rest} judged{' that were not trained on' if known else ''} is of one "
            f"recording with a clip of another group or label ({summary['n_compared']} compared)."
        )
    if summary["n_compared"] == 1:
        return "There is only 1 clip to compare."
    return (
        f"{counted(summary['n_compared'], 'clip')} compared with each other: no two of different "
        "groups or labels are of one recording."
    )


def leaks(summary: Summary) -> str:
    """Where one recording is on both sides of a split."""
    found, judged = summary["leaks"], summary["judged"]
    if not found["n"]:
        return ""
    if judged is None:
        return (
            f"{_pairs(found)} of one recording {_plural(found, 'stands', 'stand')} on both sides "
            f"of a split or of folds ({_example(found)}): scores are too high."
        )
    if not judged["n_leaking"]:
        return (
            f"{_pairs(found)} of one recording {_plural(found, 'stands', 'stand')} in training "
            f"and validation ({_example(found)}): no clip judged here is touched, but the scores "
            "of validation clips are too high."
        )
    return judged_leaking(summary)


def judged_leaking(summary: Summary) -> str:
    """Of an evaluation: where judged clips are of one recording with clips trained on."""
    judged = summary["judged"]
    if judged is None or not judged["n_leaking"]:
        return ""
    n, many = judged["n_leaking"], judged["n"]
    if summary["trained_on"]:  # which says already that the score is worth nothing
        return (
            f"{counted(n, 'clip')} judged {'is' if n == 1 else 'are'} of one recording with clips "
            f"that were trained on ({_example(judged)})."
        )
    if n == many:
        return (
            f"All {many} clips judged are of one recording with clips that were trained on "
            f"({_example(judged)}): the score says how well the rest of a recording is labelled, "
            "and nothing about other recordings."
        )
    return (
        f"{n} of the {many} clips judged {'is' if n == 1 else 'are'} of one recording with clips "
        f"that were trained on ({_example(judged)}): on these the score says nothing about other "
        "recordings."
    )


def conflicts(summary: Summary) -> str:
    """Where one content has two labels."""
    found = summary["conflicts"]
    if not found["n"]:
        return ""
    return (
        f"{_pairs(found)} of one recording {_plural(found, 'has', 'have')} different labels "
        f"({_example(found)}): one of the two is wrong, or one label is not enough."
    )


def others(summary: Summary) -> str:
    """Where one recording is in two groups of one split."""
    found = summary["others"]
    if not found["n"]:
        return ""
    return (
        f"{_pairs(found)} of one recording {_plural(found, 'stands', 'stand')} in different groups "
        f"({_example(found)}): another split or other folds could set them apart, and intervals "
        "take them for independent."
    )


def proposal(summary: Summary, accepted: bool = False) -> str:
    """What to do about groups, or what was done."""
    before, after = summary["groups_joined"]
    column = "fold" if summary["across_folds"] else "split"
    if not before:
        done = "There is no group to join, so manifest.csv stays as it is." if accepted else ""
        if summary["leaks"]["n"] and summary["judged"] is None:
            return (
                f"{done} They are in one group already: clear the {column} column of manifest.csv "
                f"to have the {column}s drawn anew."
            ).lstrip()
        return done
    many = f"{before} groups become {after}"
    if summary["judged"] is not None:
        return f"`framewave audit` proposes groups that keep them together ({many})."
    if not accepted:
        return (
            f"Proposed groups are in audit/groups.csv of the work folder ({many}); "
            "`framewave audit` with --accept writes them into manifest.csv."
        )
    return (
        f"Proposed groups were written into manifest.csv: {many}. Clear the {column} column there "
        f"to have the {column}s drawn anew."
    )


def few_left(summary: Summary) -> str:
    """Where the proposed groups are too few to judge a model by."""
    left = summary["groups_left"]
    if not summary["groups_joined"][0] or left >= FEWEST_GROUPS:
        return ""
    return (
        f"With {'it only 1 group is' if left == 1 else f'them only {left} groups are'} left, too "
        "few to judge a model by: the files are one long recording, or nearly so. Record others, "
        "or give groups of your own (days, say) and know that scores are too high."
    )


def optimism_text(summary: Summary) -> str:
    """How far a random split would flatter; nothing where that is not known."""
    found = summary["flattery"]
    if found is None:
        return ""
    how = (
        f"logistic regression classifies {100 * found['random']:.0f} % correctly in random folds, "
        f"{100 * found['grouped']:.0f} % in folds that keep the {found['n_groups']} groups whole"
    )
    gain = found["random"] - found["grouped"]
    # two standard errors of a difference of two shares of so many clips
    by_chance = 2 * (2 * found["grouped"] * (1 - found["grouped"]) / found["n_clips"]) ** 0.5
    if gain > max(_OPTIMISTIC, by_chance):
        return f"A random split would overstate accuracy by {size_in_points(gain)}: {how}."
    if gain > _OPTIMISTIC:
        by = size_in_points(gain)
        return f"That a random split would overstate accuracy may be chance ({by}): {how}."
    if by_chance > _UNSEEN:
        many = counted(found["n_clips"], "clip")
        return f"{many} are too few to see whether a random split would overstate accuracy: {how}."
    return f"A random split would hardly overstate accuracy here: {how}."


def _example(found: Summary) -> str:
    example = found["example"]
    what = _WHAT[Kind(example["kind"])]
    return f"for example {example['first']} and {example['second']}: {what}"


def _pairs(found: Summary) -> str:
    return counted(found["n"], "pair of clips", "pairs of clips")


def _plural(found: Summary, one: str, many: str) -> str:
    return one if found["n"] == 1 else many
