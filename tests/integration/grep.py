"""Where a text stands in a tenant's objects, whatever they are packed in: a grep for erasures.

Made without the code that erases, so that it finds what that does not think of.
"""

from __future__ import annotations

import base64
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from pyarrow import parquet

from pipelines.stage import Stage

_GZIP, _ZIP, _PARQUET, _NUMPY, _XZ = b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\x93NUMPY", b"\xfd7zXZ"


def holders(stage: Stage, tenant: str, text: str) -> list[str]:
    """The keys of objects that hold the text, each with the way inside."""
    s3, prefix = stage.client("s3"), f"tenants/{tenant}/"
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=stage.bucket, Prefix=prefix)
    found = []
    for item in (item for page in pages for item in page.get("Contents", [])):
        answer = s3.get_object(Bucket=stage.bucket, Key=item["Key"])
        whole = answer["Body"].read() + repr(answer["Metadata"]).encode() + item["Key"].encode()
        found += [name for name, part in unpacked(item["Key"], whole) if text.encode() in part]
    return found


def unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file and all that is in it, to the last level, by content and not by name."""
    yield name, content
    if content.startswith(_GZIP):
        yield from unpacked(f"{name}!gz", zlib.decompressobj(31).decompress(content))
    elif content.startswith(_XZ):
        yield from unpacked(f"{name}!xz", lzma.LZMADecompressor().decompress(content))
    elif content.startswith(_ZIP):
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for member in file.namelist():
                yield from unpacked(f"{name}!{member}", file.read(member))
    elif content.startswith(_PARQUET):
        yield f"{name}!rows", _rows(content)
    elif content.startswith(_NUMPY):
        yield f"{name}!array", _items(content)
    elif content[257:262] == b"ustar":
        yield from _members(name, content)


def _members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as file:
        for member in file:
            if inside := file.extractfile(member):
                yield from unpacked(f"{name}!{member.name}", inside.read())


def _rows(content: bytes) -> bytes:
    """Every value of a table, with the schema's metadata."""
    end = content.rindex(_PARQUET) + len(_PARQUET)
    table = parquet.read_table(io.BytesIO(content[:end]))
    return repr((table.to_pydict(), table.schema.metadata)).encode()


def _items(content: bytes) -> bytes:
    array = np.load(io.BytesIO(content), allow_pickle=False)
    return repr(array.ravel().tolist()).encode() if array.dtype.kind in "SU" else b""


def in_queue(stage: Stage, queue: str, text: str) -> int:
    """How many messages hold the text, as it stands or as their base64 `record`; all stay."""
    sqs, found = stage.client("sqs"), 0
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    handles = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            handles.append(message["ReceiptHandle"])
            found += _says(message["Body"], text)
    for handle in handles:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return found


def _says(body: str, text: str) -> bool:
    encoded = [base64.b64encode(b"\0" * shift + text.encode())[4:-4] for shift in range(3)]
    return text in body or any(part.decode() in body for part in encoded)
