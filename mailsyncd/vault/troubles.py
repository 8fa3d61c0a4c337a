"""What AWS's SDK and the network raise, as one clear sentence, and how far it reaches."""

from __future__ import annotations

import aiohttp
import botocore.exceptions as sdk
from aiobotocore.httpsession import HTTPClientError  # type: ignore[attr-defined]
from botocore.parsers import ResponseParserError

from mailsyncd.stored import Trouble, Vault

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
SERVICES = {Vault.SSM: "SSM", Vault.SECRETS_MANAGER: "Secrets Manager"}

_THROTTLED = Trouble("AWS throttles, also after several tries", passes=True)
_INTERNAL = Trouble("AWS has an internal error, also after several tries", passes=True)
_EXPIRED = Trouble("the AWS credentials have expired")
_UNKNOWN = Trouble("AWS does not know these credentials")
_SIGNATURE = Trouble("AWS refuses the signature: check the secret key and this machine's clock")
# Of these, no other name in the same store would be given either.
_OF_THE_STORE = {
    "ThrottlingException": _THROTTLED,
    "Throttling": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "InternalServerError": _INTERNAL,
    "InternalServiceError": _INTERNAL,
    "InternalFailure": _INTERNAL,
    "ServiceUnavailable": _INTERNAL,
    "ExpiredTokenException": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "UnrecognizedClientException": _UNKNOWN,
    "InvalidClientTokenId": _UNKNOWN,
    "InvalidSignatureException": _SIGNATURE,
    "SignatureDoesNotMatch": _SIGNATURE,
    "RequestExpired": _SIGNATURE,
}
_MISSING = ("ParameterNotFound", "ResourceNotFoundException", "ParameterVersionNotFound")
_KEY_TROUBLES = ("InvalidKeyId", "DecryptionFailure", "EncryptionFailure")
_SAYINGS = {
    "ParameterMaxVersionLimitExceeded": "has 100 versions, the oldest with a label: move that label",
    "ParameterLimitExceeded": "can't be made: the account has as many parameters as AWS allows",
    "HierarchyTypeMismatchException": "is there with another type: delete it, or choose another name",
    "TooManyUpdates": "is being changed by too many at once",
    "LimitExceededException": "has as many versions as AWS allows",
}


class Refused(Exception):
    """A request was not granted. `of_store`: no other name would be given either. `code` is AWS's."""

    def __init__(self, trouble: Trouble, *, code: str = "", of_store: bool = False) -> None:
        self.trouble = trouble
        self.code = code
        self.of_store = of_store
        super().__init__(trouble.what)


def refused(vault: Vault, operation: str, error: BaseException) -> Refused:
    """`operation` as AWS's policies call it, without the service."""
    if not isinstance(error, sdk.ClientError):
        return Refused(_of_the_line(SERVICES[vault], operation, error), of_store=True)
    said = error.response.get("Error", {})
    code = str(said.get("Code", ""))
    if code in _OF_THE_STORE:
        return Refused(_OF_THE_STORE[code], code=code, of_store=True)
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return Refused(_INTERNAL, code=code, of_store=True)
    return Refused(denial(vault, operation, code, str(said.get("Message", ""))), code=code)


def denial(vault: Vault, operation: str, code: str, message: str) -> Trouble:
    """What AWS has against one name. The message is looked at, never repeated."""
    if code in _MISSING:
        return Trouble("does not exist")
    if code in _KEY_TROUBLES or (code.startswith("AccessDenied") and "kms" in message.lower()):
        if operation.startswith(("Put", "Create")):
            return Trouble(
                "AWS denies kms:Encrypt or kms:GenerateDataKey with its key, or the key is disabled"
            )
        return Trouble("can't be decrypted: AWS denies kms:Decrypt with its key, or the key is disabled")
    if code.startswith("AccessDenied"):
        return Trouble(f"AWS denies {vault.value}:{operation}: see deploy/iam-policy.json")
    if code == "InvalidRequestException" and "delet" in message:
        return Trouble("is marked for deletion")
    return Trouble(_SAYINGS.get(code, f"{SERVICES[vault]} refused {operation} ({code})"))


def _of_the_line(service: str, operation: str, error: BaseException) -> Trouble:
    match error:
        case sdk.NoCredentialsError() | sdk.PartialCredentialsError():
            what = (
                "there are no AWS credentials: give the task a role, or set AWS_ACCESS_KEY_ID and its secret"
            )
        case sdk.CredentialRetrievalError():
            return Trouble("AWS credentials can't be fetched from where they come from", passes=True)
        case sdk.ProfileNotFound():
            what = "the profile that AWS_PROFILE names is not in the AWS configuration"
        case sdk.InvalidRegionError():
            what = "the region is not a name of a region: check AWS_REGION, or [state] region"
        case sdk.NoRegionError():
            what = "no region is set: set AWS_REGION, or [state] region"
        case ResponseParserError():
            return Trouble(f"what answered {operation} is not {service}: check the address", passes=True)
        case sdk.ConnectTimeoutError() | sdk.ReadTimeoutError() | TimeoutError():
            return Trouble(f"{service} gave no answer to {operation} within the time allowed", passes=True)
        case sdk.EndpointConnectionError() | sdk.ConnectionError() | HTTPClientError() | OSError():
            return Trouble(f"{service} can't be reached: check region, network and DNS", passes=True)
        case ValueError():
            what = "the endpoint is not an address: check AWS_ENDPOINT_URL and its like"
        case _:
            what = f"{operation} failed ({type(error).__name__})"
    return Trouble(what)
