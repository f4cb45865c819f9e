"""Runs in the guest with Orlop's Python: asks the daemon once, prints its answer as JSON.

client.py METHOD [REQUEST as JSON]
"""

import sys

from google.protobuf import json_format

from orlop.cri.operate.client import Client
from orlop.cri.proto import cri_pb2 as pb


def main() -> None:
    method, given = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"
    request = json_format.Parse(given, getattr(pb, f"{method}Request")())
    with Client("/run/orlop/orlop.sock", 600.0) as client:
        print(json_format.MessageToJson(client.call(method, request)))


if __name__ == "__main__":
    main()
