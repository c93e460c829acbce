"""What the client library aetcd (1.x, gRPC) can do, against three servers whose leader is killed: ADDRESS,ADDRESS,ADDRESS.

Ends with an error at the first wrong result. Lines that begin with "? " ask the test for what a client can't do.
"""

import asyncio
import contextlib
import hashlib
import io
import sys

import aetcd
from aetcd import rpc

LONG = 60


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")
    print(what, flush=True)


async def ask(wish):
    print(f"? {wish}", flush=True)
    return int(await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline))


async def refused(call, kind, text, what):
    try:
        await call
    except aetcd.ClientError as error:
        equal((type(error), text in str(error)), (kind, True), what)
        return
    raise AssertionError(f"{what}: it was not refused")


async def repeated(attempt):
    """Again, as long as the cluster has no leader or the connection is gone."""
    while True:
        try:
            return await attempt()
        except (aetcd.ConnectionFailedError, aetcd.ConnectionTimeoutError):
            await asyncio.sleep(0.02)


def client_of(address, **options):
    host, port = address.split(":")
    return aetcd.Client(host=host, port=int(port), timeout=LONG, **options)


async def keys(client):
    put = await client.put(b"k/a", b"1")
    equal((await client.put(b"k/a", b"2", prev_kv=True)).prev_kv.value, b"1", "put, with what was there")
    await client.put(b"k/b", bytes(range(256)))
    await client.put(b"k/c", b"")
    got = await client.get(b"k/a")
    equal((got.value, got.create_revision, got.mod_revision, got.version), (b"2", put.header.revision, put.header.revision + 1, 2), "get")
    equal((await client.get(b"k/b", serializable=True)).value, bytes(range(256)), "get all bytes, serializable")
    equal(await client.get(b"k/none"), None, "get what is not there")
    equal([kv.key for kv in await client.get_prefix(b"k/", sort_order="descend")], [b"k/c", b"k/b", b"k/a"], "get a prefix, sorted")
    equal([kv.key for kv in await client.get_range(b"k/a", b"k/c")], [b"k/a", b"k/b"], "get a range")
    equal([kv.value for kv in await client.get_prefix(b"k/", keys_only=True)], [b"", b"", b""], "get keys alone")
    equal([kv.key for kv in await client.get_all() if kv.key.startswith(b"k/")], [b"k/a", b"k/b", b"k/c"], "get all")
    equal(await client.replace(b"k/a", b"2", b"3"), True, "replace")
    equal(await client.replace(b"k/a", b"2", b"4"), False, "replace another value")
    equal((await client.delete(b"k/a", prev_kv=True)).prev_kv.value, b"3", "delete, with what was there")
    equal(await client.delete(b"k/a"), None, "delete what is not there")
    equal((await client.delete_range(b"k/b", b"k/c")).deleted, 1, "delete a range")
    equal((await client.delete_prefix(b"k/")).deleted, 1, "delete a prefix")
    await refused(client.put(b"", b"x"), aetcd.InvalidArgumentError, "key is not provided", "no key is refused")
    await refused(client.put(b"k", b"x", lease=99), aetcd.ClientError, "requested lease not found", "no lease is refused")
    await refused(client.put(b"k", b"x" * 1_700_000), aetcd.InvalidArgumentError, "request is too large", "too much is refused")


async def transactions(client):
    t = client.transactions
    await client.put(b"t", b"1")
    compare = [t.value(b"t") == b"1", t.version(b"t") > 0, t.create(b"none") == 0, t.mod(b"t") != 1]
    done, answers = await client.transaction(compare, success=[t.put(b"t2", b"2"), t.get(b"t2")], failure=[t.delete(b"t")])
    equal((done, answers[1][0][0]), (True, b"2"), "a transaction whose comparisons hold, and reads what it wrote")
    done, answers = await client.transaction([t.version(b"t") < 1], success=[], failure=[t.get(b"t"), t.delete(b"t2")])
    equal((done, answers[0][0][0], answers[1].response_delete_range.deleted), (False, b"1", 1), "a transaction whose comparison fails")
    twice = client.transaction([], success=[t.put(b"t", b"1"), t.put(b"t", b"2")], failure=[])
    await refused(twice, aetcd.InvalidArgumentError, "duplicate key given in txn request", "a key twice is refused")


async def next_of(iterator):
    return await asyncio.wait_for(anext(iterator), LONG)


async def leases(client):
    lease = await client.lease(600)
    await client.put(b"leased", b"x", lease)
    equal(list(await lease.keys()), [b"leased"], "the keys of a lease")
    equal((await lease.granted_ttl(), 590 < await lease.remaining_ttl() <= 600), (600, True), "the time of a lease")
    equal((await lease.refresh()).TTL, 600, "refresh a lease")
    await refused(client.lease(60, lease.id), aetcd.DuplicateLeaseError, "", "the same lease again is refused")
    await lease.revoke()
    equal(await client.get(b"leased"), None, "a revoked lease takes its keys")
    equal((await lease.refresh()).TTL, 0, "refresh a lease that is gone")
    await refused(lease.revoke(), aetcd.ClientError, "requested lease not found", "revoke it again is refused")
    short = await client.lease(2)
    put = await client.put(b"short", b"x", short)
    event = await client.watch_once(b"short", timeout=LONG, start_revision=put.header.revision + 1)
    equal((event.kind, event.kv.key), (aetcd.EventKind.DELETE, b"short"), "an expired lease takes its keys")


async def watches(client, other):
    watch = await client.watch(b"w", prev_kv=True)
    events = aiter(watch)
    await other.put(b"w", b"1")
    await other.put(b"w2", b"not watched")
    await other.delete(b"w")
    event = await next_of(events)
    equal((event.kind, event.kv.value, event.prev_kv.value), (aetcd.EventKind.PUT, b"1", b""), "a put is seen on another node")
    event = await next_of(events)
    equal((event.kind, event.kv.key, event.prev_kv.value), (aetcd.EventKind.DELETE, b"w", b"1"), "so is a deletion, and nothing between")
    await watch.cancel()
    equal([event async for event in events], [], "a watch that was cancelled ends")
    put = await other.put(b"p/1", b"1")
    await other.put(b"p/2", b"2")
    await other.delete_prefix(b"p/")
    deletions = aiter(await client.watch_prefix(b"p/", start_revision=put.header.revision, kind=aetcd.EventKind.DELETE))
    equal([(await next_of(deletions)).kv.key for _ in range(2)], [b"p/1", b"p/2"], "deletions alone, from history")


async def locks(client, other):
    first, second = client.lock(b"lock", ttl=60), other.lock(b"lock", ttl=60)
    equal(await first.acquire(timeout=LONG), True, "take a lock")
    equal(await second.acquire(timeout=0), False, "take it again")
    waiting = asyncio.create_task(second.acquire(timeout=LONG))
    equal((await first.is_acquired(), await second.is_acquired(), (await first.refresh()).TTL), (True, False, 60), "who has it, and refresh it")
    equal(await second.release(), False, "release another's lock")
    equal(await first.release(), True, "release it")
    equal(await waiting, True, "the one who waits has it")
    equal(await second.release(), True, "and releases it")


async def compaction(client):
    before = await client.put(b"c", b"1")
    now = await client.put(b"c", b"2")
    await client.compact(now.header.revision, physical=True)
    await refused(client.compact(before.header.revision), aetcd.ClientError, "required revision has been compacted", "compact what is compacted is refused")
    await refused(client.compact(10**9), aetcd.ClientError, "required revision is a future revision", "compact what is to come is refused")
    try:
        await next_of(aiter(await client.watch(b"c", start_revision=before.header.revision)))
        raise AssertionError("it was not refused")
    except aetcd.RevisionCompactedError as error:
        equal(error.compacted_revision, now.header.revision, "a watch from before the compaction is told where it may begin")


async def maintenance(client, addresses):
    members = [member async for member in client.members()]
    equal(sorted(url.removeprefix("http://") for member in members for url in member.client_urls), sorted(addresses), "the members")
    status = await client.status()
    equal(status.leader.id in [member.id for member in members], True, "the leader is one of them")
    equal((status.version.startswith("3.5."), status.raft_index > 0, status.raft_term > 0), (True, True, True), "the status")
    await client.defragment()
    equal([alarm async for alarm in client.list_alarms()], [], "no alarms")
    equal(await client.hash() > 0, True, "a hash")
    file = io.BytesIO()
    await client.snapshot(file)
    content, seal = file.getvalue()[:-32], file.getvalue()[-32:]
    equal((len(content) % 512, hashlib.sha256(content).digest()), (0, seal), "a snapshot and its seal")


async def write_all(client, prefix, count):
    """Each key exactly once, whatever becomes of an answer."""
    t = client.transactions
    for number in range(count):
        key = b"%s/%04d" % (prefix, number)
        await repeated(lambda: client.transaction([t.create(key) == 0], success=[t.put(key, b"x")], failure=[]))


async def follow(clients, prefix, revision, seen, last):
    """Watches until a key ends with `last`; goes on with the next client where the one before fails."""
    resumed = 0
    for client in clients:
        try:
            watch = await client.watch_prefix(prefix, start_revision=revision)
            async for event in watch:
                seen.append(event.kv.key)
                revision = event.kv.mod_revision + 1
                if event.kv.key.endswith(last):
                    return resumed
        except aetcd.ConnectionFailedError:
            resumed += 1
    raise AssertionError("no client is left")


async def keep_alive(client, lease, times):
    """Renews as a program would; notes the shortest time that a renewal gave."""
    while True:
        times.append((await repeated(lambda: client.refresh_lease(lease.id))).TTL)
        await asyncio.sleep(0.2)


async def leader_dies(addresses):
    at = await ask("the leader")
    others = [address for address in addresses if address != addresses[at]]
    doomed, client, another = client_of(addresses[at]), client_of(others[0]), client_of(others[1])
    revision = (await client.put(b"d", b"1")).header.revision
    seen, resumed, times = [], [], []
    follower = asyncio.create_task(follow([doomed, another], b"d/", revision, resumed, b"/0199"))
    steady = asyncio.create_task(follow([client], b"d/", revision, seen, b"/0199"))
    lease = await client.lease(10)
    await client.put(b"alive", b"x", lease)
    renewing = asyncio.create_task(keep_alive(client, lease, times))
    held, wanted = client.lock(b"held", ttl=30), another.lock(b"held", ttl=30)
    equal(await held.acquire(), True, "a lock is taken")
    waiting = asyncio.create_task(repeated(lambda: wanted.acquire(timeout=LONG)))
    writing = asyncio.create_task(write_all(client, b"d", 200))
    while len(seen) < 50:
        await asyncio.sleep(0.01)
    killed = await ask("kill the leader")
    equal(killed, at, "the leader that was asked is killed")
    with contextlib.suppress(aetcd.ConnectionFailedError):
        await doomed.get(b"d")
        raise AssertionError("a dead node answers")
    await asyncio.wait_for(writing, LONG)
    expected = [b"d/%04d" % number for number in range(200)]
    equal((await asyncio.wait_for(steady, LONG), seen), (0, expected), "a watch on another node sees every write once, in order")
    equal((await asyncio.wait_for(follower, LONG), resumed), (1, expected), "so does one that began on the dead leader and went on elsewhere")
    equal((await repeated(held.is_acquired), waiting.done()), (True, False), "the lock is held all the time")
    equal(await repeated(held.release), True, "it is released")
    equal(await asyncio.wait_for(waiting, LONG), True, "and taken by the one who waits")
    count = len(times)
    while len(times) < count + 3:
        await asyncio.sleep(0.05)
    renewing.cancel()
    equal((min(times), (await client.get(b"alive")).value), (10, b"x"), "a lease that is kept alive lives on")
    equal(await ask("start it again"), at, "the dead leader is back")
    # The library waits a while before it tries an address again that was dead.
    equal(len(list(await repeated(lambda: doomed.get_prefix(b"d/")))), 200, "and knows what it has missed")


async def users(address):
    plain = client_of(address)
    await plain.connect()
    auth = rpc.AuthStub(plain.channel)
    for name, password in [("root", "secret"), ("ann", "pass")]:
        await auth.UserAdd(rpc.AuthUserAddRequest(name=name, password=password))
    for role in ["root", "reader"]:
        await auth.RoleAdd(rpc.AuthRoleAddRequest(name=role))
    permission = rpc.Permission(permType=rpc.Permission.READ, key=b"open/", range_end=b"open0")
    await auth.RoleGrantPermission(rpc.AuthRoleGrantPermissionRequest(name="reader", perm=permission))
    await auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="root", role="root"))
    await auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user="ann", role="reader"))
    await plain.put(b"open/1", b"1")
    await auth.AuthEnable(rpc.AuthEnableRequest())
    root, ann = client_of(address, username="root", password="secret"), client_of(address, username="ann", password="pass")
    equal((await ann.get(b"open/1")).value, b"1", "a user reads what is allowed")
    await refused(ann.put(b"open/1", b"2"), aetcd.ClientError, "permission denied", "a user's write is refused")
    await refused(ann.get(b"secret"), aetcd.ClientError, "permission denied", "so is a read elsewhere")
    await refused(plain.get(b"open/1"), aetcd.InvalidArgumentError, "user name is empty", "so is everything without a user")
    wrong = client_of(address, username="ann", password="wrong")
    await refused(wrong.connect(), aetcd.InvalidArgumentError, "authentication failed, invalid user ID or password", "so is a wrong password")
    await root.put(b"open/1", b"3")
    equal((await ann.get(b"open/1")).value, b"3", "the administrator may write")
    ann.metadata = (("token", "forged"),)
    await refused(ann.get(b"open/1"), aetcd.exceptions.UnauthenticatedError, "invalid auth token", "a forged token is refused")
    await rpc.AuthStub(root.channel).AuthDisable(rpc.AuthDisableRequest(), metadata=root.metadata)
    equal((await plain.get(b"open/1")).value, b"3", "without users again")


async def main(addresses):
    client, other = client_of(addresses[0]), client_of(addresses[1])
    await keys(client)
    await transactions(client)
    await leases(client)
    await watches(client, other)
    await locks(client, other)
    await compaction(client)
    await maintenance(client, addresses)
    await leader_dies(addresses)
    await users(addresses[0])
    print("all is as it should be")


# Nothing of it takes so long; what hangs must end.
asyncio.run(asyncio.wait_for(main(sys.argv[1].split(",")), 5 * LONG))
