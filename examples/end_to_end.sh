#!/usr/bin/env bash
# From labelled videos to a table of predictions and a report.
#
#     bash examples/end_to_end.sh LABELLED OTHER OUT [key=value …]
#
# LABELLED: a folder with one sub-folder per label, or a CSV. OTHER: files to classify. OUT: folder
# for all output. $FRAMEWAVE is the command to run, by default framewave on PATH. The settings are
# for scan, prep and train; eval and classify take theirs from the run.
set -euo pipefail
labelled=$1 other=$2 out=$3
shift 3
framewave=${FRAMEWAVE:-framewave}

# List the files and what would be used of them.
"$framewave" scan "$labelled" --work "$out/work" "$@"
# Decode and encode. If it is killed, the same command continues.
"$framewave" prep "$labelled" --work "$out/work" "$@"
"$framewave" train --work "$out/work" --run "$out/run" "$@"
# Evaluate on the test split: metrics.json, predictions.csv, report.html in $out/run/eval.
"$framewave" eval --run "$out/run"
# One row for every file, including those that cannot be read.
"$framewave" classify "$other" --run "$out/run" --out "$out/predictions.csv"
head -n 4 "$out/predictions.csv"
