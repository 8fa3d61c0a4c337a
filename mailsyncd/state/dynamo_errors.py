"""What AWS's SDK and the network raise, as one clear sentence: StateUnavailable."""

from __future__ import annotations

import aiohttp
import botocore.exceptions as sdk
from aiobotocore.httpsession import HTTPClientError  # type: ignore[attr-defined]
from botocore.parsers import ResponseParserError

from mailsyncd.errors import StateUnavailable

ERRORS = (
    sdk.BotoCoreError,
    sdk.ClientError,
    HTTPClientError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    ValueError,  # an endpoint that is no URL
)

_THROTTLED = "DynamoDB throttles, also after several tries"
_SAYINGS = {
    "ResourceNotFoundException": "the table does not exist: run `mailsyncd state init`",
    "ExpiredTokenException": "the AWS credentials have expired",
    "ExpiredToken": "the AWS credentials have expired",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "InvalidSignatureException": "AWS refuses the signature: check the secret key and this machine's clock",
    "ProvisionedThroughputExceededException": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "TransactionConflictException": "other writes are in the way, also after several tries",
    "TransactionInProgressException": "other writes are in the way, also after several tries",
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
    return _sentence_of_the_line(operation, error)


def _sentence_of_the_line(operation: str, error: BaseException) -> str:
    match error:
        case sdk.NoCredentialsError() | sdk.PartialCredentialsError() | sdk.CredentialRetrievalError():
            return (
                "there are no AWS credentials: give the task a role, or set AWS_ACCESS_KEY_ID and its secret"
            )
        case sdk.ProfileNotFound():
            return "the profile that AWS_PROFILE names is not in the AWS configuration"
        case sdk.InvalidRegionError():
            return "the region is not a name of a region: check [state] region, or AWS_REGION"
        case sdk.NoRegionError():
            return "no region is set: set [state] region, or AWS_REGION"
        case ResponseParserError():
            return f"what answered {operation} is not DynamoDB: check the address, and proxies on the way"
        case sdk.ConnectTimeoutError() | sdk.ReadTimeoutError() | TimeoutError():
            return f"no answer to {operation} within the time allowed"
        case sdk.EndpointConnectionError() if _is_name_unknown(error):
            return "the name of the endpoint can't be resolved: check the address, the region and DNS"
        case sdk.EndpointConnectionError() | sdk.ConnectionError() | HTTPClientError() | OSError():
            return "can't be reached: check the address and the network"
        case ValueError():
            return "the endpoint is not an address: check [state] endpoint_url"
    return f"{operation} failed ({type(error).__name__})"


def _is_name_unknown(error: BaseException) -> bool:
    return isinstance(getattr(error, "kwargs", {}).get("error"), aiohttp.ClientConnectorDNSError)
