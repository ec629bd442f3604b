"""Section: leaks, clips of one recording in both training and test."""

from __future__ import annotations

from typing import Any

from pipeline.leak_audit.audit_result import end_name
from pipeline.leak_audit.audit_text import summary_text
from pipeline.leak_audit.findings import PARTS_OF_ONE_FILE
from pipeline.report.page import Page

NAV = ("leaks", "leaks")
MOST_FINDINGS = 200


def context(page: Page) -> dict[str, Any] | None:
    audit = page.evaluation.metrics["audit"]
    if audit is None:
        return None  # not audited
    findings = one_line_per_file(page.evaluation.findings)
    return {
        "audit_sentences": summary_text(audit),
        "findings": findings[:MOST_FINDINGS],
        "n_findings": len(findings),
        "end_name": end_name,
    }


def one_line_per_file(findings: list[dict[str, str]]) -> list[dict[str, str]]:
    """Merge the findings between parts of one file into one, with the number of pairs."""
    kept: list[dict[str, str]] = []
    of_file: dict[str, int] = {}
    for finding in findings:
        if finding["note"] != PARTS_OF_ONE_FILE:
            kept.append(finding)
        elif finding["first"] in of_file:
            line = kept[of_file[finding["first"]]]
            n = int(line["n_pairs"]) + 1
            # in place: the finding keeps its rank, worst first
            line |= {"n_pairs": str(n), "note": f"{PARTS_OF_ONE_FILE}, {n} pairs"}
        else:
            of_file[finding["first"]] = len(kept)
            # offsets differ between the pairs
            kept.append(finding | {"n_pairs": "1", "offset_s": ""})
    return kept
