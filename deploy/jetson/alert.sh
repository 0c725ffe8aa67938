#!/usr/bin/env bash
# Tell what the daily gate's exit code means. systemd runs this after every check, with EXIT_STATUS set.
# An executable /etc/ishowtts/alert is called with the code and the sentence: mail, chat, a lamp.
set -euo pipefail

code="${EXIT_STATUS:-unknown}"
case "$code" in
  0) exit 0 ;;
  1) sentence="regression: slower than on other days, over a limit, or memory grows" ;;
  2) sentence="nothing was measured: weights or a baseline are missing, or the command is wrong" ;;
  3) sentence="undecided: the machine was not fit to measure, or the run cannot tell" ;;
  *) sentence="the gate broke off (${SERVICE_RESULT:-no result})" ;;
esac
logger --priority daemon.alert --tag ishowtts-gate "exit $code, $sentence. See: journalctl --namespace ishowtts"
hook="${HOOK:-/etc/ishowtts/alert}"
if [[ -x "$hook" ]]; then
  "$hook" "$code" "$sentence"
fi
