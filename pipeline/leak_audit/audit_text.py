"""Sentences about an audit, made from the summary stored in audit.json and metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.leak_audit.findings import Kind
from pipeline.text_format import counted, size_in_points

_SHARED = {
    Kind.SAME_BYTES: "the same file",
    Kind.SAME_SOUND: "the same sound",
    Kind.SAME_PICTURE: "the same picture",
    # by recorded time alone, so nothing more specific can be said
    Kind.SAME_RECORDING: "one recording",
}
_OPTIMISTIC = 0.03  # smaller differences do not matter in practice, as a share
_MAX_NOISE = 0.1  # two standard errors; with more, "hardly optimistic" cannot be claimed
FEWEST_GROUPS = 3  # fewer cannot be divided into training and evaluation groups

Summary = Mapping[str, Any]


def summary_text(summary: Summary, accepted: bool = False) -> list[str]:
    """All sentences that apply: the result first, then what to do about it."""
    sentences = [leaks(summary), conflicts(summary), others(summary), nothing(summary)]
    sentences += [proposal(summary, accepted), few_left(summary), optimism_text(summary)]
    return [sentence for sentence in sentences if sentence]


def nothing(summary: Summary) -> str:
    """That nothing was found, or "". In an evaluation it is about the evaluated clips only."""
    if any(summary[name]["n"] for name in ("leaks", "conflicts", "others")):
        return ""
    judged, n_known = summary["judged"], summary["trained_on"]
    if judged is not None:
        if n_known >= judged["n"]:
            return "The model was trained on all evaluated clips."
        # the training_on warning covers the others
        rest = counted(judged["n"] - n_known, "evaluated clip")
        return (
            f"None of the {rest}{' outside the training set' if n_known else ''} shares a "
            f"recording with a clip of another group or label ({summary['n_compared']} compared)."
        )
    if summary["n_compared"] == 1:
        return "Only 1 clip: there is nothing to compare it with."
    return (
        f"{counted(summary['n_compared'], 'clip')} compared with each other: no two clips of "
        "different groups or labels share a recording."
    )


def leaks(summary: Summary) -> str:
    """Pairs of clips of one recording in different splits or folds, or ""."""
    found, judged = summary["leaks"], summary["judged"]
    if not found["n"]:
        return ""
    if judged is None:
        return (
            f"{_pairs(found)} from the same recording {_plural(found, 'is', 'are')} divided "
            f"between splits or folds ({_example(found)}): scores are too high."
        )
    if not judged["n_leaking"]:
        return (
            f"{_pairs(found)} from the same recording {_plural(found, 'is', 'are')} divided "
            f"between training and validation ({_example(found)}): no evaluated clip is affected, "
            "but validation scores are too high."
        )
    return judged_leaking(summary)


def judged_leaking(summary: Summary) -> str:
    """Evaluation only: clips that share a recording with training clips, or ""."""
    judged = summary["judged"]
    if judged is None or not judged["n_leaking"]:
        return ""
    n, n_evaluated = judged["n_leaking"], judged["n"]
    come = "comes" if n == 1 else "come"
    if summary["trained_on"]:  # another warning says already that the score is void
        return (
            f"{counted(n, 'evaluated clip')} {come} from the same recording as training clips "
            f"({_example(judged)})."
        )
    if n == n_evaluated:
        return (
            f"All {n_evaluated} evaluated clips come from the same recordings as training clips "
            f"({_example(judged)}): the score says how well the rest of a known recording is "
            "classified, and nothing about new recordings."
        )
    return (
        f"{n} of the {n_evaluated} evaluated clips {come} from the same recording as training "
        f"clips ({_example(judged)}): on these the score says nothing about new recordings."
    )


def conflicts(summary: Summary) -> str:
    """Pairs of clips with the same content and different labels, or ""."""
    found = summary["conflicts"]
    if not found["n"]:
        return ""
    return (
        f"{_pairs(found)} from the same recording {_plural(found, 'has', 'have')} different labels "
        f"({_example(found)}): one of the two labels is wrong, or one label is not enough."
    )


def others(summary: Summary) -> str:
    """Pairs of clips of one recording in different groups of one split, or ""."""
    found = summary["others"]
    if not found["n"]:
        return ""
    return (
        f"{_pairs(found)} from the same recording {_plural(found, 'is', 'are')} divided between "
        f"groups ({_example(found)}): another split or other folds could separate them, and "
        "confidence intervals treat them as independent."
    )


def proposal(summary: Summary, accepted: bool = False) -> str:
    """Which groups to merge, or that they were merged (accepted), or ""."""
    before, after = summary["groups_joined"]
    # clearing the split column does not redraw folds that a CSV sets
    column = "fold" if summary["across_folds"] else "split"
    if not before:
        done = "There are no groups to merge, so manifest.csv is unchanged." if accepted else ""
        if summary["leaks"]["n"] and summary["judged"] is None:
            return (
                f"{done} The clips are in one group already: clear the {column} column of "
                f"manifest.csv to redraw the {column}s."
            ).lstrip()
        return done
    merge = f"{before} groups become {after}"
    if summary["judged"] is not None:
        return f"`framewave audit` proposes groups that keep such clips together ({merge})."
    if not accepted:
        return (
            f"Proposed groups are in audit/groups.csv in the work folder ({merge}); "
            "`framewave audit` with --accept writes them into manifest.csv."
        )
    return (
        f"The proposed groups were written into manifest.csv: {merge}. Clear its {column} column "
        f"to redraw the {column}s."
    )


def few_left(summary: Summary) -> str:
    """That the proposed groups are too few to evaluate a model, or ""."""
    left = summary["groups_left"]
    if not summary["groups_joined"][0] or left >= FEWEST_GROUPS:
        return ""
    return (
        f"Merging leaves only {counted(left, 'group')}, too few to evaluate a model: the files are "
        "one long recording, or nearly so. Record more, or assign groups yourself (for example "
        "days) and expect scores that are too high."
    )


def optimism_text(summary: Summary) -> str:
    """By how much a random split is optimistic, or "" if that is not known."""
    found = summary["flattery"]
    if found is None:
        return ""
    how = (
        f"the accuracy of logistic regression is {100 * found['random']:.0f} % with random folds, "
        f"{100 * found['grouped']:.0f} % with folds that keep the {found['n_groups']} groups intact"
    )
    gain = found["random"] - found["grouped"]
    # two standard errors of a difference of two proportions, each of n_clips
    noise = 2 * (2 * found["grouped"] * (1 - found["grouped"]) / found["n_clips"]) ** 0.5
    if gain > max(_OPTIMISTIC, noise):
        return f"A random split is optimistic by {size_in_points(gain)}: {how}."
    if gain > _OPTIMISTIC:
        by = size_in_points(gain)
        return f"A random split looks optimistic by {by}, which may be chance: {how}."
    if noise > _MAX_NOISE:
        clips = counted(found["n_clips"], "clip")
        return f"{clips} are too few to tell whether a random split is optimistic: {how}."
    return f"A random split is hardly optimistic here: {how}."


def _example(found: Summary) -> str:
    example = found["example"]
    what = _SHARED[Kind(example["kind"])]
    return f"for example {example['first']} and {example['second']}: {what}"


def _pairs(found: Summary) -> str:
    return counted(found["n"], "pair of clips", "pairs of clips")


def _plural(found: Summary, one: str, many: str) -> str:
    return one if found["n"] == 1 else many
