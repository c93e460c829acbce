"""What redis-py does, against one replica: `python.py PORT`. Ends with an error at the first wrong result."""

import sys
import threading

import redis

port = int(sys.argv[1])


def check(what, got, wanted):
    if got != wanted:
        raise SystemExit(f"{what}: {got!r} and not {wanted!r}")
    print(what)


def refused(what, error, begins, run):
    try:
        got = run()
    except error as failure:
        if not str(failure).startswith(begins):
            raise SystemExit(f"{what}: {failure} does not begin with {begins}")
        print(what)
    else:
        raise SystemExit(f"{what}: {got!r} and no error")


for protocol in (2, 3):
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    client.flushall()
    check("ping", client.ping(), True)
    check("info", client.info("server")["redis_version"], "7.0.15")

    # Strings and numbers.
    check("set", client.set("a", "1", ex=100), True)
    check("set nx", client.set("a", "2", nx=True), None)
    check("set get", client.set("a", "5", get=True, keepttl=True), "1")
    check("ttl", 90 < client.ttl("a") <= 100, True)
    check("incrby", client.incrby("a", 5), 10)
    check("incrbyfloat", client.incrbyfloat("f", 1.5), 1.5)
    check("mset", client.mset({"x": "1", "y": "2"}), True)
    check("mget", client.mget("x", "y", "none"), ["1", "2", None])
    check("bytes", redis.Redis(port=port, protocol=protocol).set("b", bytes(range(256))), True)
    check("bytes back", redis.Redis(port=port, protocol=protocol).get("b"), bytes(range(256)))
    refused("wrong kind", redis.ResponseError, "WRONGTYPE", lambda: client.lpush("a", "x"))

    # Containers.
    check("hset", client.hset("h", mapping={"f": "1", "g": "2"}), 2)
    check("hgetall", client.hgetall("h"), {"f": "1", "g": "2"})
    check("hincrby", client.hincrby("h", "f", 4), 5)
    check("sadd", client.sadd("s", *range(1000)), 1000)
    check("smembers", client.smembers("s"), {str(number) for number in range(1000)})
    check("sscan", {member for member in client.sscan_iter("s", count=100)}, {str(number) for number in range(1000)})
    check("zadd", client.zadd("z", {"a": 1, "b": 2.5, "c": float("inf")}), 3)
    check("zscore", client.zscore("z", "b"), 2.5)
    check("zrange", [(member, score) for member, score in client.zrange("z", 0, 1, withscores=True)], [("a", 1.0), ("b", 2.5)])
    check("zpopmax", [tuple(pair) for pair in client.zpopmax("z", 1)], [("c", float("inf"))])
    check("rpush", client.rpush("l", "a", "b", "c"), 3)
    check("lpush", client.lpush("l", "x", "y"), 5)
    check("lrange", client.lrange("l", 0, -1), ["y", "x", "a", "b", "c"])
    check("lmove", client.lmove("l", "m"), "y")
    check("pfadd", client.pfadd("p", *range(100)), 1)
    check("pfcount", 95 <= client.pfcount("p") <= 105, True)
    check("type", [client.type(key) for key in "ahszlp"], ["string", "hash", "set", "zset", "list", "string"])
    check("scan", set(client.scan_iter(match="[xy]")), {"x", "y"})

    # Pipelines and transactions.
    with client.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.set(f"k{number}", number)
        check("pipeline", pipeline.execute(), [True] * 5000)
    with client.pipeline() as pipeline:
        pipeline.get("k7").incr("k7").lpush("k7", 1)
        answers = pipeline.execute(raise_on_error=False)
        check("transaction", (answers[:2], type(answers[2]).__name__), (["7", 8], "ResponseError"))

    def add(pipeline):
        value = int(pipeline.get("counter") or 0)
        pipeline.multi()
        pipeline.set("counter", value + 1)

    workers = [threading.Thread(target=lambda: [client.transaction(add, "counter") for _ in range(20)]) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    check("watch", client.get("counter"), "80")

    # Users.
    rules = {"enabled": True, "passwords": "+secret", "keys": ["mine:*"], "commands": ["+get", "+set"]}
    check("acl setuser", client.acl_setuser("bob", reset=True, **rules), True)
    check("acl getuser", client.acl_getuser("bob")["enabled"], True)
    check("acl users", client.acl_users(), ["bob", "default"])
    bob = redis.Redis(port=port, protocol=protocol, username="bob", password="secret", decode_responses=True)
    check("his key", bob.set("mine:1", "x"), True)
    refused("another's key", redis.exceptions.NoPermissionError, "this user has no permissions to access", lambda: bob.get("a"))
    refused("another command", redis.exceptions.NoPermissionError, "this user has no permissions to run", lambda: bob.delete("mine:1"))
    mallory = redis.Redis(port=port, protocol=protocol, username="bob", password="guess")
    refused("wrong password", redis.exceptions.AuthenticationError, "invalid username-password pair", mallory.ping)
    check("acl log", {entry["reason"] for entry in client.acl_log()}, {"auth", "command", "key"})
    check("acl log reset", client.acl_log_reset(), True)
    check("acl genpass", len(client.acl_genpass()), 64)
    check("acl deluser", client.acl_deluser("bob"), 1)

    # Levels: by commands that the library does not know.
    one = client.client()
    check("consistency set", one.execute_command("CONSISTENCY", "SET", "causal"), "OK")
    check("consistency get", one.execute_command("CONSISTENCY", "GET"), "causal")
    token = one.execute_command("SESSION", "TOKEN")
    check("session wait", one.execute_command("SESSION", "WAIT", token, 1000), 1)
    check("consistency with", one.execute_command("CONSISTENCY", "WITH", "session", "TOKEN", token, "GET", "x"), "1")
    refused("strong", redis.ResponseError, "NOTSTRONG", lambda: one.execute_command("CONSISTENCY", "WITH", "strong", "GET", "x"))
    check("wait", client.wait(0, 10), 0)
