#!/usr/bin/env bash
# What is deployed, by the linters that know it: all of them, then the exit status.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=.venv/tools/bin
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
has() { [ -x "$tools/$1" ] || { echo "deployables: $1 is not to be had on this machine" >&2; [ "${CI:-}" != true ] || status=1; false; }; }
run() { "$@" || { echo "deployables: failed: $1" >&2; status=1; }; }

templates=(deploy/ecs-fargate.yaml deploy/lambda.yaml deploy/table.yaml)
# As SAM makes it, the template has to be as good as it was.
"$tools/python" tests/deploy/translate.py deploy/lambda.yaml >"$scratch/translated.json" || status=1
run .venv/bin/cfn-lint -- "${templates[@]}" "$scratch/translated.json"

mapfile -t scripts < <(git ls-files -co --exclude-standard '*.sh' .ci/run)
! has shellcheck || run "$tools/shellcheck" -S warning "${scripts[@]}"
! has actionlint || run "$tools/actionlint" -shellcheck "$tools/shellcheck"
! has zizmor || run "$tools/zizmor" --offline --no-progress --quiet .github
! has docker-compose || run "$tools/docker-compose" -f deploy/compose.yaml config --quiet
mapfile -t dockerfiles < <(git ls-files -co --exclude-standard '*Dockerfile')
! has hadolint || run "$tools/hadolint" "${dockerfiles[@]}"
[ "$status" = 0 ] && echo "deployables: templates, workflows, Dockerfiles, compose.yaml and scripts are in order"
exit "$status"
