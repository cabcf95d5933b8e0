"""What S3 itself answers when it is asked for a listing: keys by the order of their bytes, which few servers keep."""

from collections.abc import Iterable
from urllib.parse import parse_qs, quote, urlsplit
from xml.sax.saxutils import escape

from s3_proxy import Answer, Request

_DETAILS = "<LastModified>2020-01-01T00:00:00Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size>"
_KEY = f"<Contents><Key>{{}}</Key>{_DETAILS}</Contents>"
_PREFIX = "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>"


class Listings:
    """Answers list_objects_v2 for some keys, a few at a time."""

    def __init__(self, keys: Iterable[str], at_once: int) -> None:
        self._keys = sorted(keys, key=str.encode)
        self._at_once = at_once

    def __call__(self, request: Request) -> Answer:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        found: list[tuple[str, str]] = []
        for key in self._keys:
            name = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            shown = (key, _KEY)
            if delimiter and delimiter in name:
                shown = (prefix + name.partition(delimiter)[0] + delimiter, _PREFIX)
            if shown not in found[-1:]:
                found.append(shown)
        start = int(asked.get("continuation-token", 0))
        end = start + self._at_once
        more = end < len(found)
        body = "".join(template.format(escape(quote(name))) for name, template in found[start:end])
        tail = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        return Answer(
            body=f'<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType>{body}{tail}'
            f"<IsTruncated>{str(more).lower()}</IsTruncated></ListBucketResult>".encode()
        )
