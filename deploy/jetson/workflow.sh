#!/usr/bin/env bash
# What is done on a Jetson every week, month and quarter, each as one command:
#   deploy/jetson/workflow.sh weekly       tests, what the week's commits changed, and where the time goes
#   deploy/jetson/workflow.sh monthly      the studies of toggles, costs and first audio; the history's drift points
#   deploy/jetson/workflow.sh quarterly    a session of today beside the recorded ones
# (Every day: ishowtts-gate.service.) Ends with the worst exit code of its steps, whose order is 2, 1, 3, 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
nox="${NOX:-nox}"
ishowtts="${ISHOWTTS:-$(echo .nox/shared-*/bin/ishowtts)}"
worst=0

step() {
  local code=0
  echo "workflow: $*" >&2
  "$@" || code=$?
  case "$code" in
    0) ;;
    1) [[ "$worst" -eq 2 ]] || worst=1 ;;
    3) [[ "$worst" -ne 0 ]] || worst=3 ;;
    *) worst=2 ;;
  esac
}

product=(--checkpoint F5TTS_v1_Base)
out=build/studies
case "${1:-}" in
  weekly)
    step "$nox" -s tests
    before="$(git rev-list -1 --before='1 week ago' HEAD)"
    step "$nox" -s perf -- "${product[@]}" --options jetson --against "${before:-HEAD~1}"
    step "$ishowtts" profile "${product[@]}" --preset jetson # 1: the aim is not reached
    ;;
  monthly)
    step "$nox" -s study -- ladder "${product[@]}" --out "$out/ladder.json" --plot "$out/ladder.png"
    step "$nox" -s study -- costs "${product[@]}" --out "$out/costs.json" --plot "$out/costs.png"
    step "$nox" -s study -- pareto "${product[@]}" --out "$out/pareto.json"
    step "$nox" -s study -- first-audio "${product[@]}" --options jetson --out "$out/first_audio.json"
    step "$nox" -s history
    ;;
  quarterly)
    step "$nox" -s record -- "${product[@]}" --options jetson
    ;;
  *)
    echo "workflow: '${1:-}' is none of weekly, monthly, quarterly" >&2
    exit 2
    ;;
esac
exit "$worst"
