"""What goes wrong at S3, as an OSError whose one line says what it is and the way out, and holds nothing secret.

Nothing that the server or botocore wrote is repeated, but for error codes and the names of settings: their texts may
hold keys, signatures and signed addresses.
"""

import errno
import os
import re
from typing import Any

from botocore import UNSIGNED, exceptions
from urllib3.exceptions import HTTPError

from igcam_batch.errors import one_line

BROKEN_BODY = (
    exceptions.IncompleteReadError,
    exceptions.ResponseStreamingError,
    exceptions.ReadTimeoutError,
    exceptions.FlexibleChecksumError,
    HTTPError,
)
TAKEN = ("412", "PreconditionFailed")
CONFLICT = ("409", "ConditionalRequestConflict")
MISSING = ("404", "NoSuchKey")
_SETTINGS = (
    exceptions.ConfigNotFound,
    exceptions.ConfigParseError,
    exceptions.InvalidConfigError,
    exceptions.InvalidRegionError,
    exceptions.ProfileNotFound,
)
_CREDENTIALS = (
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
_TIMEOUTS = (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError)
_UNREACHABLE = (exceptions.EndpointConnectionError, exceptions.ConnectionClosedError, exceptions.ProxyConnectionError)

_TO_THE_NODES = (  # doubled braces: the line is a template
    """; on a cluster every node needs them, by a role or by `ray job submit --runtime-env-json """
    """'{{"env_vars": ...}}'`"""
)
_INVALID = (
    errno.EACCES,
    "{code}: the credentials are not valid at {endpoint}; check AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL",
)
_EXPIRED = (errno.EACCES, "{code}: the credentials have expired; renew them, as with `aws sso login`")
_REGION = (errno.EINVAL, "{code}: the bucket is in another region{region}; set AWS_REGION to its region")
_DENIED = (
    errno.EACCES,
    "access denied: to read takes s3:ListBucket and s3:GetObject, to write s3:PutObject and s3:DeleteObject",
)
_DENIED_ANONYMOUS = (
    errno.EACCES,
    "access denied: no credentials were found, so requests are unsigned; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    f"AWS_SECRET_ACCESS_KEY{_TO_THE_NODES}",
)
_MISSING = (errno.ENOENT, os.strerror(errno.ENOENT))
_CHANGED = (errno.ESTALE, "the object was replaced while it was being read; read it again")
_REFUSED = (
    errno.EINVAL,
    "{endpoint} refused the request (400): the credentials may have expired, or AWS_REGION is not the bucket's",
)
_BUSY = (errno.EBUSY, "others put the object at the same moment ({code}), also when asked again")
_UNKNOWN = (errno.EOPNOTSUPP, "{endpoint} does not know this kind of request ({code})")
_ANSWERS = {
    "400": _REFUSED,
    "404": _MISSING,
    "409": _BUSY,
    "412": _CHANGED,
    "301": _REGION,
    "307": _REGION,
    "501": _UNKNOWN,
    "AuthorizationHeaderMalformed": _REGION,
    "ConditionalRequestConflict": _BUSY,
    "ExpiredToken": _EXPIRED,
    "IllegalLocationConstraintException": _REGION,
    "InvalidAccessKeyId": _INVALID,
    "InvalidBucketName": (errno.EINVAL, "no valid name of a bucket; write s3://BUCKET/PREFIX"),
    "InvalidObjectState": (errno.EACCES, "the object is archived; restore it first"),
    "InvalidToken": _INVALID,
    "KeyTooLongError": (errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)),
    "NoSuchBucket": (
        errno.ENOENT,
        "no such bucket at {endpoint}; check its name, and AWS_ENDPOINT_URL where it is not on AWS",
    ),
    "NoSuchKey": _MISSING,
    "NotImplemented": _UNKNOWN,
    "PermanentRedirect": _REGION,
    "PreconditionFailed": _CHANGED,
    "RequestTimeTooSkewed": (errno.EACCES, "{code}: the clock of this machine is wrong; set it"),
    "SignatureDoesNotMatch": _INVALID,
    "TemporaryRedirect": _REGION,
    "TokenRefreshRequired": _EXPIRED,
}
_MARK = "igcam_of_all"  # an attribute; a class of its own could be no FileNotFoundError or PermissionError
_OF_ALL = frozenset(code for code, answer in _ANSWERS.items() if answer in (_INVALID, _EXPIRED, _REGION)) | {
    "InvalidBucketName",
    "NoSuchBucket",
    "RequestTimeTooSkewed",
}


def as_os_error(error: Exception, uri: str, client: Any) -> OSError:
    """The error of a request, with `uri` as its file name; see also `is_of_all`.

    Args:
        error: of botocore, boto3 or urllib3.
        uri: what was asked for.
        client: who asked; None where there could be no client.
    """
    endpoint = _endpoint(client)
    of_all = True
    if isinstance(error, exceptions.ClientError):
        number, line = _answered(error, endpoint, client)
        of_all = error_code(error) in _OF_ALL
    elif isinstance(error, _SETTINGS):
        number, line = errno.EINVAL, f"the AWS settings do not hold: {one_line(error)}"
    elif isinstance(error, exceptions.EndpointProviderError):  # its text repeats the address
        number, line = errno.EINVAL, "AWS_ENDPOINT_URL or AWS_REGION does not hold; write http://HOST:PORT"
    elif isinstance(error, _CREDENTIALS):
        number, line = (
            errno.EACCES,
            f"the credentials could not be had ({type(error).__name__}); check AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
        )
    elif isinstance(error, exceptions.SSLError):
        number, line = errno.EPROTO, f"no trusted connection to {endpoint}; check AWS_ENDPOINT_URL and AWS_CA_BUNDLE"
    elif isinstance(error, _TIMEOUTS):
        number, line = errno.ETIMEDOUT, f"{endpoint} does not answer; check AWS_ENDPOINT_URL and the network"
    elif isinstance(error, _UNREACHABLE):
        number, line = errno.EHOSTUNREACH, f"cannot connect to {endpoint}; check AWS_ENDPOINT_URL and the network"
    elif isinstance(error, BROKEN_BODY):
        of_all, number, line = False, errno.EIO, f"the bytes from {endpoint} broke off, also when read again"
    else:
        of_all, number, line = False, errno.EIO, f"the request to {endpoint} failed ({type(error).__name__})"
    found = OSError(number, line, uri)
    setattr(found, _MARK, of_all)
    return found


def is_of_all(error: OSError) -> bool:
    """Whether a request for any other object would have fared no better: credentials, network, bucket."""
    return bool(getattr(error, _MARK, False))


def error_code(error: exceptions.ClientError) -> str:
    """What S3 calls the error; its HTTP status where it has no body, as after HEAD."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) else "?"


def _answered(error: exceptions.ClientError, endpoint: str, client: Any) -> tuple[int, str]:
    code = error_code(error)
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in _ANSWERS:
        number, line = _ANSWERS[code]
    elif status == 403 or code in ("403", "AccessDenied"):
        anonymous = client is not None and client.meta.config.signature_version is UNSIGNED
        number, line = _DENIED_ANONYMOUS if anonymous else _DENIED
    else:
        number, line = errno.EIO, f"{{endpoint}} answered {status} {{code}}, also when asked again"
    found = error.response.get("Error", {}).get("Region") or metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    region = f", {found}" if re.fullmatch(r"[a-z0-9-]{1,32}", str(found or "")) else ""
    return number, line.format(code=code, endpoint=endpoint, region=region)


def _endpoint(client: Any) -> str:
    """Where requests go, in words for a person; an address with an `@` may hold a password."""
    address = "" if client is None else client.meta.endpoint_url
    return "S3" if not address or "@" in address else str(address)
