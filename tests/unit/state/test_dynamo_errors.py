"""Every failure of the SDK and of the line is one sentence that says what to do, and no more."""

from __future__ import annotations

import botocore.exceptions as sdk
import pytest

from mailsyncd.state.dynamo_errors import code_of, unavailable

WHERE = "DynamoDB table mailsyncd"


def refusal(code: str) -> sdk.ClientError:
    answer = {"Error": {"Code": code, "Message": "User: arn:aws:iam::123:role/x is not secret-ish"}}
    return sdk.ClientError(answer, "PutItem")  # type: ignore[arg-type, unused-ignore]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refusal("ResourceNotFoundException"), "run `mailsyncd state init`"),
        (refusal("AccessDeniedException"), "AWS denies dynamodb:PutItem: see deploy/iam-policy.json"),
        (refusal("ExpiredTokenException"), "the AWS credentials have expired"),
        (refusal("UnrecognizedClientException"), "AWS does not know these credentials"),
        (refusal("ThrottlingException"), "throttles"),
        (refusal("SomethingNew"), "DynamoDB refused PutItem (SomethingNew)"),
        (sdk.NoCredentialsError(), "there are no AWS credentials"),
        (sdk.NoRegionError(), "no region is set"),
        (sdk.ProfileNotFound(profile="secret-ish"), "AWS_PROFILE"),
        (sdk.ConnectTimeoutError(endpoint_url="http://x"), "no answer to PutItem within the time allowed"),
        (sdk.ReadTimeoutError(endpoint_url="http://x"), "no answer to PutItem within the time allowed"),
        (TimeoutError(), "no answer to PutItem within the time allowed"),
        (sdk.EndpointConnectionError(endpoint_url="http://x"), "can't be reached"),
        (sdk.ConnectionClosedError(endpoint_url="http://x"), "can't be reached"),
        (ConnectionResetError(), "can't be reached"),
        (sdk.BotoCoreError(), "PutItem failed (BotoCoreError)"),
    ],
    ids=lambda one: (code_of(one) or type(one).__name__) if isinstance(one, Exception) else "",
)
def test_a_failure_is_one_sentence(error: Exception, said: str) -> None:
    sentence = str(unavailable(WHERE, "PutItem", error))
    assert sentence.startswith(f"{WHERE}: ")
    assert said in sentence
    assert "secret-ish" not in sentence
    assert "\n" not in sentence
