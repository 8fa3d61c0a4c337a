"""What AWS's SDK and the network raise, as one clear sentence: StateUnavailable."""

from __future__ import annotations

import socket

import botocore.exceptions as sdk
from botocore.parsers import ResponseParserError

from mailsyncd.errors import StateUnavailable

ERRORS = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, OSError, TimeoutError)

_SAYINGS = {
    "ResourceNotFoundException": "the table does not exist: run `mailsyncd state init`",
    "ExpiredTokenException": "the AWS credentials have expired",
    "ExpiredToken": "the AWS credentials have expired",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "InvalidSignatureException": "AWS refuses the signature: check the secret key and this machine's clock",
    "ProvisionedThroughputExceededException": "DynamoDB throttles, also after several tries",
    "ThrottlingException": "DynamoDB throttles, also after several tries",
    "RequestLimitExceeded": "DynamoDB throttles, also after several tries",
    "InternalServerError": "DynamoDB has an internal error, also after several tries",
}


def code_of(error: BaseException) -> str:
    """The error code of a ClientError, else the empty string."""
    if isinstance(error, sdk.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def unavailable(where: str, operation: str, error: BaseException) -> StateUnavailable:
    """`where` names table and endpoint; nothing of the request or the credentials is repeated."""
    return StateUnavailable(f"{where}: {_sentence(operation, error)}")


def _sentence(operation: str, error: BaseException) -> str:
    code = code_of(error)
    if code in _SAYINGS:
        return _SAYINGS[code]
    if code.startswith("AccessDenied"):
        return f"AWS denies dynamodb:{operation}: see deploy/iam-policy.json"
    if code:
        return f"DynamoDB refused {operation} ({code})"
    match error:
        case sdk.NoCredentialsError() | sdk.PartialCredentialsError() | sdk.CredentialRetrievalError():
            return (
                "there are no AWS credentials: give the task a role, or set AWS_ACCESS_KEY_ID and its secret"
            )
        case sdk.NoRegionError():
            return "no region is set: set [state] region, or AWS_REGION"
        case sdk.ConnectTimeoutError() | sdk.ReadTimeoutError() | TimeoutError():
            return f"no answer to {operation} within the time allowed"
        case sdk.ProfileNotFound() | sdk.ConfigParseError() | sdk.ConfigNotFound():
            return "the AWS profile can't be read: check AWS_PROFILE and ~/.aws"
        case sdk.InvalidRegionError():
            return "the region is no region of AWS: check [state] region, or AWS_REGION"
        case ValueError():
            return "the address is no URL: check [state] endpoint_url"
        case sdk.SSLError():
            return "the server's TLS certificate can't be trusted: check the address and this machine's clock"
        case sdk.EndpointConnectionError(kwargs=about) if _is_unknown_name(about.get("error")):
            return "its name can't be found: check the region, the address and the DNS"
        case sdk.EndpointConnectionError() | sdk.ConnectionError() | OSError():
            return "can't be reached: check the address and the network"
    return f"{operation} failed ({type(error).__name__})"


def _is_unknown_name(error: object) -> bool:
    return isinstance(error, socket.gaierror) or isinstance(getattr(error, "os_error", None), socket.gaierror)
