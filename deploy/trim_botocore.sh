#!/bin/sh
# Of botocore's descriptions of all AWS services, keep the few that are used.
#
#   deploy/trim_botocore.sh DIRECTORY     that botocore was installed into
set -eu
cd "$1/botocore/data"
for one in */; do
    case "${one%/}" in
        dynamodb | ssm | secretsmanager) ;; # mailsyncd's own requests
        sts | sso | sso-oidc | signin) ;;   # where credentials come from
        *) rm -rf "$one" ;;
    esac
done
