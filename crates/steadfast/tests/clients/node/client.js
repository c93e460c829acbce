// What the client library etcd3 (1.x, gRPC) can do over TLS, against three servers whose leader is killed: CERTIFICATES ADDRESS,ADDRESS,ADDRESS.
//
// Ends with an error at the first wrong result. Lines that begin with "? " ask the test for what a client can't do.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');
const etcd3 = require('etcd3');

const LONG_MS = 60000;
const [certificates, list] = process.argv.slice(2);
const addresses = list.split(',');
const file = (name) => fs.readFileSync(path.join(certificates, name));
const credentials = { rootCertificate: file('ca.crt'), privateKey: file('client.key'), certChain: file('client.crt') };
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function equal(found, expected, what) {
  assert.deepStrictEqual(found, expected, `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  console.log(what);
}

async function ask(wish) {
  console.log(`? ${wish}`);
  return Number((await answers.next()).value);
}

async function refused(promise, kind, text, what) {
  let error;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  assert(error, `${what}: it was not refused`);
  assert(error.message.includes(text), `${what}: ${error.message}`);
  equal(error.constructor.name, kind.name, what);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(condition) {
  while (!(await condition())) await sleep(10);
}

/** Again, as long as the cluster has no leader or the connection is gone. */
async function repeated(attempt) {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!etcd3.isRecoverableError(error) && error.constructor.name !== 'BrokenCircuitError') throw error;
      await sleep(20);
    }
  }
}

const clients = [];
function clientOf(hosts, auth) {
  const client = new etcd3.Etcd3({ hosts: hosts.map((host) => `https://${host}`), credentials, auth, dialTimeout: LONG_MS });
  clients.push(client);
  return client;
}

async function keys(client) {
  const first = (await client.put('k/a').value('1')).header.revision;
  equal((await client.put('k/a').value('2').getPrevious()).value.toString(), '1', 'put, with what was there');
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  await client.put('k/b').value(bytes);
  await client.put('k/c').value('');
  equal(await client.get('k/a').string(), '2', 'get');
  equal(await client.get('k/a').number(), 2, 'get a number');
  equal((await client.get('k/b').serializable(true).buffer()).equals(bytes), true, 'get all bytes, serializable');
  equal(await client.get('k/none'), null, 'get what is not there');
  equal(await client.get('k/a').revision(first), '1', 'get as it was');
  equal(await client.getAll().prefix('k/').sort('Key', 'Descend').keys(), ['k/c', 'k/b', 'k/a'], 'get a prefix, sorted');
  equal(await client.getAll().inRange({ start: 'k/a', end: 'k/c' }).limit(1).strings(), { 'k/a': '2' }, 'get some of a range');
  equal(await client.getAll().prefix('k/').count(), 3, 'count');
  equal(await client.namespace('k/').get('a'), '2', 'a namespace');
  equal((await client.delete().key('k/a').getPrevious()).map((kv) => kv.value.toString()), ['2'], 'delete, with what was there');
  equal((await client.delete().prefix('k/')).deleted, '2', 'delete a prefix');
  equal((await client.delete().key('k/a')).deleted, '0', 'delete what is not there');
  await refused(client.put('').value('x'), etcd3.GRPCInvalidArgumentError, 'key is not provided', 'no key is refused');
  await refused(client.put('k').value('x').lease(99), etcd3.EtcdLeaseInvalidError, 'requested lease not found', 'no lease is refused');
  const large = client.put('k').value(Buffer.alloc(1700000));
  await refused(large, etcd3.GRPCInvalidArgumentError, 'request is too large', 'too much is refused');
  await refused(client.get('k').revision(1e9), etcd3.GRPCOutOfRangeError, 'is a future revision', 'a revision to come is refused');
}

async function transactions(client) {
  await client.put('t').value('1');
  const holds = await client.if('t', 'Value', '==', '1').and('none', 'Create', '==', 0).then(client.put('t2').value('2'), client.get('t2')).commit();
  equal([holds.succeeded, holds.responses[1].response_range.kvs[0].value.toString()], [true, '2'], 'a transaction reads what it wrote');
  const fails = await client.if('t', 'Version', '>', 1).then(client.put('t').value('x')).else(client.delete().key('t2')).commit();
  equal([fails.succeeded, fails.responses[0].response_delete_range.deleted], [false, '1'], 'a transaction whose comparison fails');
  const twice = client.if('t', 'Version', '>', 0).then(client.put('t').value('1'), client.put('t').value('2')).commit();
  await refused(twice, etcd3.GRPCInvalidArgumentError, 'duplicate key given in txn request', 'a key twice is refused');
  await client.put('count').value(0);
  const add = () => client.stm({ retries: 1000 }).transact(async (tx) => tx.put('count').value((await tx.get('count').number()) + 1));
  await Promise.all(Array.from({ length: 10 }, add));
  equal(await client.get('count').number(), 10, 'ten software transactions at once lose nothing');
}

async function leases(client) {
  const lease = client.lease(600, { autoKeepAlive: false });
  await lease.put('leased').value('x');
  equal((await lease.keepaliveOnce()).TTL, '600', 'keep a lease alive');
  const told = await client.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true });
  equal([told.keys.map(String), told.grantedTTL], [['leased'], '600'], 'the keys and time of a lease');
  await lease.revoke();
  equal(await client.get('leased'), null, 'a revoked lease takes its keys');
  const gone = client.leaseClient.leaseRevoke({ ID: told.ID });
  await refused(gone, etcd3.EtcdLeaseInvalidError, 'requested lease not found', 'revoke it again is refused');
  const short = client.lease(2, { autoKeepAlive: false });
  const put = await short.put('short').value('x');
  const watcher = await client.watch().key('short').startRevision(String(Number(put.header.revision) + 1)).create();
  await once(watcher, 'delete');
  equal(await client.get('short'), null, 'an expired lease takes its keys');
  await watcher.cancel();
  const lost = once(short, 'lost');
  short.keepaliveOnce().catch(() => undefined);
  equal((await lost)[0].constructor.name, 'EtcdLeaseInvalidError', 'and whoever renews it is told');
}

async function watches(client, other) {
  const watcher = await client.watch().prefix('w/').withPreviousKV().create();
  const seen = [];
  watcher.on('put', (kv, previous) => seen.push(['put', kv.key.toString(), kv.value.toString(), previous && previous.value.toString()]));
  watcher.on('delete', (kv, previous) => seen.push(['delete', kv.key.toString(), previous.value.toString()]));
  const put = await other.put('w/1').value('one');
  await other.put('x').value('not watched');
  await other.put('w/1').value('two');
  await other.delete().key('w/1');
  await until(() => seen.length >= 3);
  equal(seen, [['put', 'w/1', 'one', null], ['put', 'w/1', 'two', 'one'], ['delete', 'w/1', 'two']], 'changes on another node are seen');
  await watcher.cancel();
  const history = await client.watch().key('w/1').only('delete').startRevision(put.header.revision).create();
  const [kv] = await once(history, 'delete');
  equal(kv.mod_revision, String(Number(put.header.revision) + 3), 'deletions alone, from history');
  await history.cancel();
}

async function turns(client, other) {
  const lock = await client.lock('lock').ttl(60).acquire();
  await refused(other.lock('lock').ttl(60).acquire(), etcd3.EtcdLockFailedError, 'Failed to acquire a lock', 'a lock that is held is refused');
  await lock.release();
  equal(await other.lock('lock').do(async () => 'done'), 'done', 'it can be taken when it is released');

  const [first, second] = [client.election('office'), other.election('office')];
  const observer = await other.election('office').observe();
  const campaign = first.campaign('a');
  await campaign.wait();
  await until(() => observer.leader() === 'a');
  equal(await second.leader(), 'a', 'the first candidate leads');
  const next = second.campaign('b');
  let elected = false;
  const waiting = next.wait().then(() => (elected = true));
  await until(async () => (await client.getAll().prefix('election/office/').count()) === 2);
  await campaign.proclaim('a2');
  await until(() => observer.leader() === 'a2');
  equal([await second.leader(), elected], ['a2', false], 'it proclaims, and the second one waits');
  await campaign.resign();
  await waiting;
  await until(() => observer.leader() === 'b');
  equal(await first.leader(), 'b', 'the second one leads when the first resigns');
  await next.resign();
  await observer.cancel();
}

async function compaction(client) {
  const before = (await client.put('c').value('1')).header.revision;
  const now = (await client.put('c').value('2')).header.revision;
  await client.kv.compact({ revision: now, physical: true });
  const text = 'required revision has been compacted';
  await refused(client.kv.compact({ revision: now }), etcd3.GRPCOutOfRangeError, text, 'compact again is refused');
  await refused(client.get('c').revision(before), etcd3.GRPCOutOfRangeError, text, 'what is compacted is refused');
  const watcher = client.watch().key('c').startRevision(before).watcher();
  const [error] = await once(watcher, 'error');
  equal(error.message.startsWith('Watcher canceled'), true, 'a watch from before the compaction ends');
}

async function maintenance(client) {
  const { members } = await client.cluster.memberList({});
  equal(members.flatMap((member) => member.clientURLs).sort(), addresses.map((address) => `https://${address}`).sort(), 'the members');
  const status = await client.maintenance.status();
  equal(members.some((member) => member.ID === status.leader), true, 'the leader is one of them');
  equal([status.version.startsWith('3.5.'), Number(status.raftTerm) > 0], [true, true], 'the status');
  await client.maintenance.defragment();
  equal((await client.maintenance.alarm({ action: 'GET' })).alarms, [], 'no alarms');
  const stream = await client.maintenance.snapshot();
  const parts = [];
  stream.on('data', (part) => parts.push(part.blob));
  await once(stream, 'end');
  const content = Buffer.concat(parts);
  const [pages, seal] = [content.subarray(0, -32), content.subarray(-32)];
  equal([pages.length % 512, crypto.createHash('sha256').update(pages).digest('hex')], [0, seal.toString('hex')], 'a snapshot and its seal');
}

async function leaderDies() {
  const at = await ask('the leader');
  const others = addresses.filter((address) => address !== addresses[at]);
  // The first of these begins on the leader, and goes on by itself.
  const [doomed, client, another] = [clientOf([addresses[at], ...others]), clientOf([others[0]]), clientOf([others[1]])];
  const begin = (await client.put('d').value('1')).header.revision;
  const expected = Array.from({ length: 200 }, (_, n) => `d/${String(n).padStart(4, '0')}`);
  const follow = async (from, seen) => {
    const watcher = await from.watch().prefix('d/').startRevision(begin).create();
    watcher.on('put', (kv) => seen.push(kv.key.toString()));
    return watcher;
  };
  const [steady, resuming] = [[], []];
  const watchers = [await follow(client, steady), await follow(doomed, resuming)];
  const lease = client.lease(10);
  const renewals = [];
  lease.on('keepaliveSucceeded', (answer) => renewals.push(Number(answer.TTL)));
  await lease.put('alive').value('x');
  const held = await client.lock('held').ttl(30).acquire();
  const campaign = client.election('held office').campaign('before');
  await campaign.wait();
  const take = async () => {
    for (;;) {
      try {
        return await another.lock('held').ttl(30).acquire();
      } catch (error) {
        if (!(error instanceof etcd3.EtcdLockFailedError) && !etcd3.isRecoverableError(error)) throw error;
        await sleep(50);
      }
    }
  };
  let taken = false;
  const waiting = take().then((lock) => ((taken = true), lock));
  // Each key exactly once, whatever becomes of an answer.
  const write = async () => {
    for (const key of expected) await repeated(() => client.if(key, 'Create', '==', 0).then(client.put(key).value('x')).commit());
  };
  const writing = write();
  await until(() => steady.length >= 50 && resuming.length >= 1);
  equal(await ask('kill the leader'), at, 'the leader that was asked is killed');
  await writing;
  await until(() => steady.length >= 200 && resuming.length >= 200);
  equal(steady, expected, 'a watch on another node sees every write once, in order');
  equal(resuming, expected, 'so does one that has the dead leader first in its list');
  equal([await repeated(() => client.get('held').exists()), taken], [true, false], 'the lock is held all the time');
  equal(await repeated(() => another.election('held office').leader()), 'before', 'the election has its leader still');
  await repeated(() => held.release());
  await (await waiting).release();
  equal(taken, true, 'the lock is taken by the one who waits');
  const count = renewals.length;
  await until(() => renewals.length > count);
  equal([Math.min(...renewals), await client.get('alive').string()], [10, 'x'], 'a lease that is kept alive lives on');
  await campaign.resign();
  await lease.revoke();
  for (const watcher of watchers) await watcher.cancel();
  equal(await ask('start it again'), at, 'the dead leader is back');
  equal(await repeated(() => clientOf([addresses[at]]).getAll().prefix('d/').count()), 200, 'and knows what it has missed');
}

async function users() {
  const plain = clientOf(addresses.slice(0, 1));
  const [root, ann] = [await plain.user('root').create('secret'), await plain.user('ann').create('pass')];
  await refused(plain.user('ann').create('x'), etcd3.EtcdUserExistsError, 'user name already exists', 'a user twice is refused');
  await refused(plain.user('bob').roles(), etcd3.EtcdUserNotFoundError, 'user name not found', 'a user who is not there is refused');
  const [all, reader] = [await plain.role('root').create(), await plain.role('reader').create()];
  await refused(plain.role('reader').create(), etcd3.EtcdRoleExistsError, 'role name already exists', 'a role twice is refused');
  await refused(ann.addRole('none'), etcd3.EtcdRoleNotFoundError, 'role name not found', 'a role that is not there is refused');
  await refused(ann.removeRole('reader'), etcd3.EtcdRoleNotGrantedError, 'role is not granted', 'a role that was not granted is refused');
  await reader.grant({ permission: 'Read', range: etcd3.Range.prefix('open/') });
  equal((await reader.permissions()).map((each) => each.permission), ['Read'], 'what a role may');
  await root.addRole(all);
  await ann.addRole(reader);
  await plain.put('open/1').value('1');
  await plain.auth.authEnable();
  const [asRoot, asAnn] = [['root', 'secret'], ['ann', 'pass']].map(([username, password]) => clientOf(addresses.slice(0, 1), { username, password }));
  equal(await asAnn.get('open/1'), '1', 'a user reads what is allowed');
  const denied = [etcd3.EtcdPermissionDeniedError, 'permission denied'];
  await refused(asAnn.put('open/1').value('2'), ...denied, "a user's write is refused");
  await refused(asAnn.get('secret'), ...denied, 'so is a read elsewhere');
  await refused(asAnn.getUsers(), ...denied, "so is what is the administrator's");
  const wrong = clientOf(addresses.slice(0, 1), { username: 'ann', password: 'wrong' });
  await refused(wrong.get('open/1'), etcd3.EtcdAuthenticationFailedError, 'authentication failed, invalid user ID or password', 'so is a wrong password');
  await asRoot.user('ann').setPassword('new');
  equal((await asRoot.getUsers()).map((user) => user.name).sort(), ['ann', 'root'], 'the administrator sees all users');
  await asRoot.auth.authDisable();
  equal(await plain.get('open/1'), '1', 'without users again');
}

async function main() {
  const [client, other] = [clientOf(addresses), clientOf(addresses.slice(1, 2))];
  await keys(client);
  await transactions(client);
  await leases(client);
  await watches(client, other);
  await turns(client, other);
  await compaction(client);
  await maintenance(client);
  await leaderDies();
  await users();
  clients.forEach((each) => each.close());
  console.log('all is as it should be');
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

// Nothing of it takes so long; what hangs must end.
setTimeout(() => fail('it hangs'), 5 * LONG_MS).unref();
main().then(() => process.exit(0), fail);
