"""Stands in for curl where a machine has none: the options that the pages use, and no other."""

import argparse
import sys
from pathlib import Path

import httpx

OPTIONS = argparse.ArgumentParser(allow_abbrev=False)
OPTIONS.add_argument("url")
OPTIONS.add_argument("-H", "--header", action="append", default=[])
OPTIONS.add_argument("-d", "--data", "--data-raw", dest="data")
OPTIONS.add_argument("-X", "--request")
OPTIONS.add_argument("-N", "--no-buffer", action="store_true")
OPTIONS.add_argument("-s", "--silent", action="store_true")
OPTIONS.add_argument("-o", "--output")
OPTIONS.add_argument("-D", "--dump-header")

asked = OPTIONS.parse_args()
method = asked.request or ("GET" if asked.data is None else "POST")
headers = dict(header.split(": ", 1) for header in asked.header)
body = None if asked.data is None else asked.data.encode()
reply = httpx.request(method, asked.url, headers=headers, content=body, timeout=60, trust_env=False)
if asked.dump_header:
    lines = [f"HTTP/1.1 {reply.status_code} {reply.reason_phrase}", *map(": ".join, reply.headers.items()), "", ""]
    Path(asked.dump_header).write_text("\r\n".join(lines))
if asked.output:
    Path(asked.output).write_bytes(reply.content)
else:
    sys.stdout.buffer.write(reply.content)
