"""Everything that the client library etcd3gw (2.x) can do, against one server: HOST PORT. Ends with an error at the first wrong result.

All of it goes over the JSON gateway; the path of the API is found by /version.
"""

import queue
import sys
import threading

# This file has the library's name, and its directory is searched first.
sys.path.pop(0)

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

LONG = 60


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")
    print(what)


def refused(call, text, what):
    try:
        call()
    except Etcd3Exception as error:
        equal(text in str(error) or text in (error.detail_text or ""), True, what)
        return
    raise AssertionError(f"{what}: it was not refused")


def keys(client):
    equal(client.put("k/a", "1"), True, "put")
    equal(client.put("k/a", "2"), True, "put again")
    equal(client.put(b"k/b", bytes(range(256))), True, "put bytes")
    equal(client.get("k/a"), [b"2"], "get")
    equal(client.get("k/b"), [bytes(range(256))], "get bytes")
    equal(client.get("k/none"), [], "get what is not there")
    value, about = client.get("k/a", metadata=True)[0]
    equal((value, about["key"], about["version"]), (b"2", b"k/a", "2"), "get with metadata")
    found = [about["key"] for _, about in client.get_prefix("k/", sort_order="descend", sort_target="key")]
    equal(found, [b"k/b", b"k/a"], "get a prefix, sorted")
    equal([about["key"] for _, about in client.get_all() if about["key"].startswith(b"k/")], [b"k/a", b"k/b"], "get all")
    equal(client.get("k/a", revision=int(about_of(client, "k/a")["create_revision"])), [b"1"], "get as it was")
    refused(lambda: client.get("k/a", revision=10**9), "required revision is a future revision", "a revision to come is refused")
    equal(client.create("k/c", "first"), True, "create")
    equal(client.create("k/c", "second"), False, "create what is there")
    equal(client.replace("k/c", "first", "third"), True, "replace")
    equal(client.replace("k/c", "first", "fourth"), False, "replace another value")
    equal(client.get("k/c"), [b"third"], "what was replaced")
    equal(client.delete("k/c"), True, "delete")
    equal(client.delete("k/c"), False, "delete what is not there")
    equal(client.delete_prefix("k/"), True, "delete a prefix")
    equal(client.get_prefix("k/"), [], "nothing is left of it")


def about_of(client, key):
    return client.get(key, metadata=True)[0][1]


def transactions(client):
    put = {"request_put": {"key": "dA==", "value": "MQ=="}}
    compare = {"key": "dA==", "result": "GREATER", "target": "VERSION", "version": 0}
    result = client.transaction({"compare": [compare], "success": [], "failure": [put, {"request_range": {"key": "dA=="}}]})
    equal("succeeded" in result, False, "a comparison that fails")
    equal(result["responses"][1]["response_range"]["kvs"][0]["value"], "MQ==", "a range after a put, in one transaction")
    equal(client.transaction({"compare": [compare], "success": [], "failure": []})["succeeded"], True, "a comparison that holds")
    refused(lambda: client.transaction({"success": [put, put]}), "duplicate key given in txn request", "a key twice is refused")


def leases(client):
    lease = client.lease(ttl=600)
    equal(client.put("leased", "x", lease), True, "put with a lease")
    equal(lease.keys(), [b"leased"], "the keys of a lease")
    equal(590 < lease.ttl() <= 600, True, "what is left of a lease")
    equal(lease.refresh(), 600, "refresh a lease")
    equal(lease.revoke(), True, "revoke a lease")
    equal(client.get("leased"), [], "its keys go with it")
    equal(lease.refresh(), -1, "refresh a lease that is gone")
    equal(lease.ttl(), -1, "nothing is left of it")
    refused(lease.revoke, "requested lease not found", "revoke it again is refused")


def locks(client, other):
    first, second = client.lock("work", ttl=60), other.lock("work", ttl=60)
    equal(first.acquire(), True, "take a lock")
    equal(second.acquire(), False, "take it again")
    equal((first.is_acquired(), second.is_acquired()), (True, False), "who has it")
    equal(first.refresh(), 60, "refresh it")
    equal(second.release(), False, "release another's lock")
    equal(first.release(), True, "release it")
    equal(second.acquire(), True, "take it now")
    equal(second.release(), True, "and release it")


def watches(client, other):
    events, cancel = client.watch("w")
    equal(other.put("w", "1"), True, "put what is watched")
    event = next(events)
    equal((event["kv"]["key"], event["kv"]["value"]), (b"w", b"1"), "the put is seen")
    equal(other.put("x", "1"), True, "put what is not watched")
    equal(other.delete("w"), True, "delete what is watched")
    equal(next(events)["type"], "DELETE", "the deletion is seen, and nothing else")
    cancel()
    equal(list(events), [], "a watch that was cancelled ends")

    events, cancel = client.watch_prefix("p/", start_revision=int(about_of(client, "x")["mod_revision"]), filters=["NODELETE"])
    other.put("p/1", "one")
    other.delete("p/1")
    other.put("p/2", "two")
    equal([next(events)["kv"]["key"] for _ in range(2)], [b"p/1", b"p/2"], "a prefix, without deletions")
    cancel()

    seen = queue.Queue()
    waiting = threading.Thread(target=lambda: seen.put(client.watch_once("once", timeout=LONG)), daemon=True)
    waiting.start()
    # The watch may begin after any one put.
    while waiting.is_alive():
        other.put("once", "now")
        waiting.join(timeout=0.01)
    equal(seen.get(timeout=LONG)["kv"]["value"], b"now", "watch once")


def cluster(client):
    equal([member["clientURLs"] != [] for member in client.members()], [True], "the members")
    status = client.status()
    equal(int(status["leader"]), int(status["header"]["member_id"]), "the status")
    equal(status["version"].startswith("3.5."), True, "the version of the API")


def main(host, port):
    client, other = (Etcd3Client(host=host, port=int(port), timeout=LONG, api_path=None) for _ in range(2))
    equal(client.api_path, "/v3/", "the path of the API")
    keys(client)
    transactions(client)
    leases(client)
    locks(client, other)
    watches(client, other)
    cluster(client)
    print("all is as it should be")


main(*sys.argv[1:3])
