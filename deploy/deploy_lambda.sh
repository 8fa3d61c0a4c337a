#!/usr/bin/env bash
# Deploy build/lambda by deploy/lambda.yaml. What is not set stays as the template has it.
#
#   STACK_NAME=mailsyncd SSM=/mail-syncer/outlook,/mail-syncer/routes deploy/deploy_lambda.sh
#
# SSM: names of parameters; SECRETS: those of secrets, which count only while SSM is empty. SCHEDULE,
# MEMORY, TIMEOUT, LEVEL, INTERVAL: as the template's parameters. Needs the SAM CLI, and credentials.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${STACK_NAME:?is not set}"
[ -n "${SSM:-}" ] || [ -n "${SECRETS:-}" ] || { echo "SSM, or SECRETS, must name where the configuration is" >&2; exit 2; }
[ -d build/lambda/mailsyncd ] || { echo "run deploy/build_lambda.sh first" >&2; exit 2; }

parameters=()
give() { [ -z "$2" ] || parameters+=("$1=\"$2\""); }
give TableName "$STACK_NAME"
if [ -n "${SSM:-}" ]; then give SsmParameterNames "$SSM"; else give SecretsManagerSecretIds "${SECRETS:-}"; fi
give ScheduleExpression "${SCHEDULE:-}"
give MemorySize "${MEMORY:-}"
give TimeoutSeconds "${TIMEOUT:-}"
give LogLevel "${LEVEL:-}"
give SyncIntervalSeconds "${INTERVAL:-}"
give AlarmEmail "${ALARM_EMAIL:-}"
give CreateTable "${CREATE_TABLE:-}"

sam deploy --template-file deploy/lambda.yaml --stack-name "$STACK_NAME" \
    --resolve-s3 --s3-prefix "$STACK_NAME" --capabilities CAPABILITY_IAM \
    --no-confirm-changeset --no-fail-on-empty-changeset --no-progressbar \
    --tags project=mailsyncd environment="${ENVIRONMENT:-production}" \
    --parameter-overrides "${parameters[@]}"
