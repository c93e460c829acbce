"""What the client library etcd3gw (2.x) can do, against three servers whose leader is killed: ADDRESS,ADDRESS,ADDRESS.

All of it goes over the JSON gateway; the path of the API is found by /version. Ends with an error at the first wrong result.
Lines that begin with "? " ask the test for what a client can't do.
"""

import base64
import faulthandler
import hashlib
import json
import queue
import sys
import threading
import time

import requests
from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception

LONG = 60


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")
    print(what, flush=True)


def ask(wish):
    print(f"? {wish}", flush=True)
    return int(sys.stdin.readline())


def client_of(address, **options):
    host, port = address.split(":")
    return Etcd3Client(host=host, port=int(port), timeout=LONG, api_path=None, **options)


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


def expiry(client, other):
    lease = client.lease(ttl=2)
    client.put("short", "x", lease)
    events, cancel = other.watch("short", start_revision=int(about_of(client, "short")["mod_revision"]) + 1)
    equal(next(events)["type"], "DELETE", "an expired lease takes its keys")
    cancel()


def compaction(client):
    client.put("c", "1")
    before = int(about_of(client, "c")["mod_revision"])
    client.put("c", "2")
    compact = {"revision": str(before + 1), "physical": True}
    equal("header" in client.post(client.get_url("/kv/compaction"), json=compact), True, "compact")
    refused(lambda: client.get("c", revision=before), "required revision has been compacted", "what is compacted is refused")
    refused(lambda: client.post(client.get_url("/kv/compaction"), json=compact), "has been compacted", "compact it again is refused")


def maintenance(client, addresses):
    members = client.members()
    urls = sorted(url.removeprefix("http://") for member in members for url in member["clientURLs"])
    equal(urls, sorted(addresses), "the members")
    status = client.status()
    equal(status["leader"] in [member["ID"] for member in members], True, "the leader is one of them")
    equal(status["version"].startswith("3.5."), True, "the version of the API")
    answer = client.session.post(client.get_url("/maintenance/snapshot"), json={}, stream=True, timeout=LONG)
    parts = [json.loads(line)["result"] for line in answer.iter_lines()]
    content = b"".join(base64.b64decode(part.get("blob", "")) for part in parts)
    equal((len(content) % 512, hashlib.sha256(content[:-32]).digest()), (32, content[-32:]), "a snapshot and its seal")


def repeated(attempt):
    """Again, as long as the cluster has no leader."""
    while True:
        try:
            return attempt()
        except (ConnectionFailedError, ConnectionTimeoutError):
            time.sleep(0.02)


def keep_alive(lease, times, stop):
    while not stop.wait(0.2):
        times.append(repeated(lease.refresh))


def follow(events, seen):
    for event in events:
        seen.append((event["kv"]["key"], int(event["kv"]["mod_revision"])))


def until(condition):
    while not condition():
        time.sleep(0.01)


def leader_dies(addresses):
    at = ask("the leader")
    others = [address for address in addresses if address != addresses[at]]
    doomed, client, another = client_of(addresses[at]), client_of(others[0]), client_of(others[1])
    client.put("d", "1")
    revision = int(about_of(client, "d")["mod_revision"])
    seen, begun, times, stop = [], [], [], threading.Event()
    events, cancel = client.watch_prefix("d/", start_revision=revision)
    threading.Thread(target=follow, args=(events, seen), daemon=True).start()
    doomed_events, cancel_doomed = doomed.watch_prefix("d/", start_revision=revision)
    threading.Thread(target=follow, args=(doomed_events, begun), daemon=True).start()
    lease = client.lease(ttl=10)
    client.put("alive", "x", lease)
    renewing = threading.Thread(target=keep_alive, args=(lease, times, stop), daemon=True)
    renewing.start()
    held, wanted = client.lock("held", ttl=30), another.lock("held", ttl=30)
    equal(held.acquire(), True, "a lock is taken")
    taken = threading.Event()
    threading.Thread(target=lambda: (until(lambda: repeated(wanted.acquire)), taken.set()), daemon=True).start()
    expected = [b"d/%04d" % number for number in range(200)]
    for number, key in enumerate(expected):
        if number == 100:
            until(lambda: len(begun) >= 50)
            equal(ask("kill the leader"), at, "the leader that was asked is killed")
        repeated(lambda: client.create(key, "x"))
    until(lambda: len(seen) >= 200)
    equal([key for key, _ in seen], expected, "a watch on another node sees every write once, in order")
    cancel()
    cancel_doomed()
    events, cancel = another.watch_prefix("d/", start_revision=begun[-1][1] + 1)
    rest = [next(events)["kv"]["key"] for _ in range(200 - len(begun))]
    equal([key for key, _ in begun] + rest, expected, "so does one that began on the dead leader and went on elsewhere")
    cancel()
    try:
        doomed.get("d")
        raise AssertionError("a dead node answers")
    except ConnectionFailedError:
        pass
    equal((repeated(held.is_acquired), taken.is_set()), (True, False), "the lock is held all the time")
    equal(repeated(held.release), True, "it is released")
    equal(taken.wait(LONG), True, "and taken by the one who waits")
    count = len(times)
    until(lambda: len(times) >= count + 3)
    stop.set()
    renewing.join()
    equal((min(times), client.get("alive")), (10, [b"x"]), "a lease that is kept alive lives on")
    equal(ask("start it again"), at, "the dead leader is back")
    equal(len(client_of(addresses[at]).get_prefix("d/")), 200, "and knows what it has missed")


def users(address):
    """The library knows no users, but whose session it is given does."""
    plain = client_of(address)

    def call(client, path, **message):
        return client.post(client.get_url(path), json=message)

    def as_user(name, password):
        session = requests.Session()
        session.headers["Authorization"] = call(plain, "/auth/authenticate", name=name, password=password)["token"]
        return client_of(address, session=session)

    for name, password in [("root", "secret"), ("ann", "pass")]:
        call(plain, "/auth/user/add", name=name, password=password)
    for role in ["root", "reader"]:
        call(plain, "/auth/role/add", name=role)
    permission = {"permType": "READ", "key": "b3Blbi8=", "range_end": "b3BlbjA="}
    call(plain, "/auth/role/grant", name="reader", perm=permission)
    call(plain, "/auth/user/grant", user="root", role="root")
    call(plain, "/auth/user/grant", user="ann", role="reader")
    plain.put("open/1", "1")
    call(plain, "/auth/enable")
    root, ann = as_user("root", "secret"), as_user("ann", "pass")
    equal(ann.get("open/1"), [b"1"], "a user reads what is allowed")
    refused(lambda: ann.put("open/1", "2"), "permission denied", "a user's write is refused")
    refused(lambda: ann.get("other"), "permission denied", "so is a read elsewhere")
    refused(lambda: plain.get("open/1"), "user name is empty", "so is everything without a user")
    refused(lambda: as_user("ann", "wrong"), "authentication failed, invalid user ID or password", "so is a wrong password")
    equal(root.put("open/1", "3"), True, "the administrator may write")
    ann.session.headers["Authorization"] = "forged"
    refused(lambda: ann.get("open/1"), "invalid auth token", "a forged token is refused")
    call(root, "/auth/disable")
    equal(plain.get("open/1"), [b"3"], "without users again")


def main(addresses):
    # Nothing of it takes so long; what hangs must end.
    faulthandler.dump_traceback_later(5 * LONG, exit=True)
    client, other = client_of(addresses[0]), client_of(addresses[1])
    equal(client.api_path, "/v3/", "the path of the API")
    keys(client)
    transactions(client)
    leases(client)
    expiry(client, other)
    locks(client, other)
    watches(client, other)
    compaction(client)
    maintenance(client, addresses)
    leader_dies(addresses)
    users(addresses[0])
    print("all is as it should be")


main(sys.argv[1].split(","))
