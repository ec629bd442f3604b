#!/usr/bin/env bash
# From labelled videos to a table of predictions and a report.
#
#     bash examples/end_to_end.sh LABELLED OTHER OUT [key=value …]
#
# LABELLED: a folder with one sub-folder per label, or a CSV; OTHER: files to classify; OUT: a folder
# for everything that is made. FRAMEWAVE names the command, by default the one on PATH.
set -euo pipefail
labelled=$1 other=$2 out=$3
shift 3
framewave=${FRAMEWAVE:-framewave}

# What is in the folder, and what would be used.
"$framewave" scan "$labelled" --work "$out/work" "$@"
# Decode and encode; killed at any moment, the same command continues.
"$framewave" prep "$labelled" --work "$out/work" "$@"
"$framewave" train --work "$out/work" --run "$out/run" "$@"
# How good the model is on clips it has not seen: metrics.json, predictions.csv, report.html.
"$framewave" eval --run "$out/run"
# One row for every file, also for those that cannot be read.
"$framewave" classify "$other" --run "$out/run" --out "$out/predictions.csv"
head -n 4 "$out/predictions.csv"
