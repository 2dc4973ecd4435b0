"""Judges a SCIM server with scim2-tester, the checker of python-scim.

    python judge.py URL CA-FILE     the access token comes on standard input

Prints every check that is not fine and a count of each outcome. Ends with 1 when one of them is an error, and when fewer
checks than expected were made: a judge that found nothing to look at has shown nothing.
"""

import collections
import ssl
import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

# The least number of checks that this version of the judge makes of our schemas.
LEAST = 40


def main() -> int:
    url, ca = sys.argv[1:]
    token = sys.stdin.read().strip()
    context = ssl.create_default_context(cafile=ca)
    http = Client(base_url=url, headers={"Authorization": "Bearer " + token}, verify=context, timeout=60)
    scim = SyncSCIMClient(http)
    scim.discover()
    results = check_server(scim)
    counts = collections.Counter(r.status.name for r in results)
    for r in results:
        if r.status not in (Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE):
            print(r.status.name, r.title, r.resource_type or "", "|", r.reason, "|", str(r.data)[:400])
    print(dict(counts), "of", len(results))
    return int(counts["ERROR"] + counts["CRITICAL"] > 0 or len(results) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
