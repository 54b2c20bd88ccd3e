#!/bin/sh
# A gate for continuous integration: fail if the new model is worse on the tail than the one in production, on evidence.
#
#     examples/gate_in_ci.sh runs/production runs/candidate
#
# Exit status 4 if the condition holds or cannot be judged; the comparison is printed in any case.
set -eu
exec tbmetrics compare "$1" "$2" --metric recall \
  --fail-if 'tail.recall significantly < baseline' \
  --fail-if 'head.recall significantly < baseline'
