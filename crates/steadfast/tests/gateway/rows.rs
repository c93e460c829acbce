//! The requests that are put to etcd and to us, in order: later ones see what earlier ones left behind.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// What of two answers must be equal. The status and the content type always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equal {
    /// All of the body.
    Body,
    /// The body but for the words of its error: etcd's are those of Go's JSON library.
    ButTheWords,
    /// Nothing of the body.
    Head,
}

/// One request.
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: String,
    /// A stream is read for so many lines; otherwise the answer is read to its end.
    pub(crate) lines: Option<usize>,
    pub(crate) equal: Equal,
}

/// A POST with `body`, where `'text'` stands for the text in base64 and quotes.
fn post(path: &'static str, body: &str) -> Row {
    let mut parts = body.split('\'');
    let mut text = parts.next().unwrap_or_default().to_owned();
    while let (Some(quoted), Some(plain)) = (parts.next(), parts.next()) {
        text += &format!("\"{}\"{plain}", BASE64_STANDARD.encode(quoted));
    }
    Row { method: "POST", path, headers: &[], body: text, lines: None, equal: Equal::Body }
}

fn watch(body: &str, lines: usize) -> Row {
    Row { lines: Some(lines), ..post("/v3/watch", body) }
}

fn with(headers: &'static [(&'static str, &'static str)], row: Row) -> Row {
    Row { headers, ..row }
}

fn bare(method: &'static str, path: &'static str) -> Row {
    Row { method, ..post(path, "") }
}

fn words_differ(path: &'static str, body: &str) -> Row {
    Row { equal: Equal::ButTheWords, ..post(path, body) }
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let parts = [keys(), transactions(), leases(), watches(), turns(), members(), forms(), refusals(), plain()];
    parts.into_iter().flatten().collect()
}

fn keys() -> Vec<Row> {
    let (put, range, delete) = ("/v3/kv/put", "/v3/kv/range", "/v3/kv/deleterange");
    vec![
        post(put, "{\"key\":'a',\"value\":'1'}"),
        post(put, "{\"key\":'a',\"value\":'2',\"prev_kv\":true}"),
        post(put, "{\"key\":'a',\"ignore_value\":true}"),
        post(put, "{\"key\":'a',\"value\":'3',\"ignore_value\":true}"),
        post(put, "{\"key\":'a',\"value\":'3',\"lease\":5,\"ignoreLease\":true}"),
        post(put, "{\"key\":'missing',\"ignore_value\":true}"),
        post(put, "{\"key\":'a',\"lease\":\"12345\"}"),
        post(put, "{\"key\":\"\"}"),
        post(put, "{\"key\":'b',\"value\":\"\"}"),
        post(put, "{\"key\":'c\u{e9}<&>',\"value\":'\u{1F600}'}"),
        post(range, "{\"key\":'a'}"),
        post(range, "{\"key\":'missing'}"),
        post(range, "{\"key\":\"AA==\",\"range_end\":\"AA==\"}"),
        post(range, "{\"key\":'a',\"rangeEnd\":'z',\"keysOnly\":true,\"sortOrder\":\"DESCEND\",\"sortTarget\":\"KEY\",\"limit\":\"2\"}"),
        post(range, "{\"key\":'a',\"range_end\":'z',\"count_only\":true}"),
        post(range, "{\"key\":'a',\"range_end\":'z',\"sort_target\":\"MOD\",\"sort_order\":1,\"serializable\":true}"),
        post(range, "{\"key\":'a',\"range_end\":'z',\"min_mod_revision\":\"3\",\"max_create_revision\":4}"),
        post(range, "{\"key\":'a',\"revision\":2}"),
        post(range, "{\"key\":'a',\"revision\":\"99\"}"),
        post(range, "{\"key\":'a',\"limit\":-1,\"revision\":-7}"),
        post(range, "{\"key\":\"\"}"),
        post(delete, "{\"key\":'b',\"prev_kv\":true}"),
        post(delete, "{\"key\":'b',\"prev_kv\":true}"),
        post(delete, "{\"key\":'b'}"),
        post(delete, "{}"),
        post("/v3/kv/compaction", "{\"revision\":3}"),
        post("/v3/kv/compaction", "{\"revision\":\"3\",\"physical\":true}"),
        post("/v3/kv/compaction", "{\"revision\":300}"),
        post(range, "{\"key\":'a',\"revision\":2}"),
        post("/v3beta/kv/range", "{\"key\":'a'}"),
    ]
}

fn transactions() -> Vec<Row> {
    let txn = "/v3/kv/txn";
    let if_a = |compare: &str| {
        let text = format!(
            "{{\"compare\":[{compare}],\"success\":[{{\"request_range\":{{\"key\":'a'}}}}],\"failure\":[{{\"request_delete_range\":{{\"key\":'n'}}}}]}}"
        );
        post(txn, &text)
    };
    let many = |count: usize| {
        let puts: Vec<String> = (0..count).map(|at| format!("{{\"request_put\":{{\"key\":'k{at}'}}}}")).collect();
        post(txn, &format!("{{\"success\":[{}]}}", puts.join(",")))
    };
    vec![
        post(txn, "{}"),
        post(txn, "{\"success\":[{\"requestPut\":{\"key\":'t',\"value\":'1',\"prevKv\":true}},{\"requestRange\":{\"key\":'t'}}]}"),
        post(txn, "{\"success\":[{\"request_put\":{\"key\":'t'}},{\"request_put\":{\"key\":'t'}}]}"),
        post(txn, "{\"success\":[{\"request_put\":{\"key\":'t'},\"request_range\":{\"key\":'t'}}]}"),
        post(txn, "{\"success\":[{}]}"),
        post(txn, "{\"success\":[null]}"),
        post(
            txn,
            "{\"success\":[{\"request_txn\":{\"compare\":[{\"key\":'t',\"version\":0,\"target\":0}],\"failure\":[{\"request_put\":{\"key\":'u'}}]}}]}",
        ),
        if_a("{\"key\":'a',\"target\":\"VERSION\",\"version\":\"0\",\"result\":\"GREATER\"}"),
        if_a("{\"key\":'a',\"target\":\"VALUE\",\"value\":'2'}"),
        if_a("{\"key\":'a',\"target\":3,\"value\":'x',\"result\":\"NOT_EQUAL\"}"),
        if_a("{\"key\":'a',\"target\":\"MOD\",\"modRevision\":1,\"result\":\"LESS\"}"),
        if_a("{\"key\":'a',\"target\":\"CREATE\",\"create_revision\":1,\"result\":\"GREATER\",\"range_end\":'b'}"),
        if_a("{\"key\":'missing',\"target\":\"LEASE\",\"lease\":0}"),
        if_a("{\"key\":\"\",\"target\":\"MOD\"}"),
        many(128),
        many(129),
        words_differ(txn, "{\"compare\":[{\"key\":'a',\"result\":\"GREATR\"}]}"),
        words_differ(txn, "{\"success\":{}}"),
        words_differ(txn, "{\"success\":[{\"request_put\":[]}]}"),
    ]
}

fn leases() -> Vec<Row> {
    let (grant, keep) = ("/v3/lease/grant", "/v3/lease/keepalive");
    vec![
        post(grant, "{\"TTL\":\"600\",\"ID\":\"77\"}"),
        post(grant, "{\"TTL\":600,\"ID\":77}"),
        post(grant, "{\"TTL\":600,\"ID\":78}"),
        post(grant, "{\"TTL\":\"9000000001\"}"),
        post("/v3/kv/put", "{\"key\":'leased',\"lease\":77}"),
        post("/v3/kv/range", "{\"key\":'leased'}"),
        post("/v3/lease/timetolive", "{\"ID\":77,\"keys\":true}"),
        post("/v3/kv/lease/timetolive", "{\"ID\":\"77\"}"),
        post("/v3/lease/timetolive", "{\"ID\":1}"),
        post("/v3/lease/leases", "{}"),
        post("/v3/kv/lease/leases", ""),
        post(keep, "{\"ID\":77}"),
        post(keep, "{\"ID\":\"77\"}{\"ID\":1}\n {\"ID\":78}"),
        post(keep, "{\"ID\":77} nonsense {\"ID\":77}"),
        post(keep, "null"),
        post(keep, ""),
        words_differ(keep, "nonsense"),
        words_differ(keep, "[]"),
        words_differ(keep, "{\"ID\":{}}"),
        words_differ(keep, "{"),
        post("/v3/lease/revoke", "{\"ID\":77}"),
        post("/v3/lease/revoke", "{\"ID\":77}"),
        post("/v3/kv/lease/revoke", "{\"ID\":78}"),
        post("/v3/kv/range", "{\"key\":'leased'}"),
    ]
}

fn watches() -> Vec<Row> {
    vec![
        post("/v3/kv/put", "{\"key\":'w',\"value\":'1'}"),
        post("/v3/kv/put", "{\"key\":'w',\"value\":'2'}"),
        post("/v3/kv/deleterange", "{\"key\":'w'}"),
        watch("{\"create_request\":{\"key\":'w'}}", 1),
        watch("{\"createRequest\":{\"key\":'w',\"startRevision\":\"4\",\"prevKv\":true}}", 2),
        watch("{\"create_request\":{\"key\":'w',\"start_revision\":4,\"filters\":[\"NOPUT\"],\"watch_id\":9}}", 2),
        watch("{\"create_request\":{\"key\":'w',\"start_revision\":4,\"filters\":[1]}}", 2),
        // We say why and when it ended; etcd does not.
        Row { equal: Equal::Head, ..watch("{\"create_request\":{\"key\":'w',\"start_revision\":1}}", 2) },
        watch("{\"create_request\":{\"key\":'w'}} {\"cancel_request\":{\"watch_id\":\"0\"}}", 2),
        watch("{\"create_request\":{\"key\":'w',\"watch_id\":3}}{\"create_request\":{\"key\":'w',\"watch_id\":3}}", 2),
        watch("{\"create_request\":{\"key\":'w'}}{\"progress_request\":{}}", 2),
        watch("{\"create_request\":{}}", 1),
        words_differ("/v3/watch", "nonsense"),
        words_differ("/v3/watch", "{\"create_request\":{\"key\":1}}"),
        words_differ("/v3/watch", "{\"create_request\":{\"filters\":[\"NO\"]}}"),
    ]
}

fn turns() -> Vec<Row> {
    vec![
        post("/v3/lease/grant", "{\"TTL\":600,\"ID\":81}"),
        post("/v3/lease/grant", "{\"TTL\":600,\"ID\":82}"),
        post("/v3/lock/lock", "{\"name\":'l',\"lease\":81}"),
        with(&[("grpc-timeout", "300m")], post("/v3/lock/lock", "{\"name\":'l',\"lease\":82}")),
        post("/v3/lock/unlock", "{\"key\":'l/51'}"),
        post("/v3/lock/unlock", "{\"key\":'l/51'}"),
        post("/v3/lock/lock", "{\"name\":'l',\"lease\":99}"),
        post("/v3/election/leader", "{\"name\":'e'}"),
        post("/v3/election/campaign", "{\"name\":'e',\"lease\":81,\"value\":'v'}"),
        post("/v3/election/leader", "{\"name\":'e'}"),
        Row { lines: Some(1), ..post("/v3/election/observe", "{\"name\":'e'}") },
        post("/v3/election/proclaim", "{\"leader\":{\"name\":'e',\"key\":'e/51',\"rev\":1,\"lease\":81},\"value\":'w'}"),
        post("/v3/election/proclaim", "{}"),
        post("/v3/election/resign", "{}"),
        words_differ("/v3/election/observe", "{\"name\":5}"),
    ]
}

fn members() -> Vec<Row> {
    vec![
        // Not beside the removal: etcd drops a membership change that comes while another is under way, and never answers.
        post("/v3/cluster/member/update", "{\"ID\":5,\"peerURLs\":[\"http://127.0.0.1:1\"]}"),
        post("/v3/cluster/member/list", "{}"),
        post("/v3/cluster/member/list", "{\"linearizable\":true}"),
        post("/v3/cluster/member/add", "{\"peerURLs\":[\"nonsense\"]}"),
        post("/v3/cluster/member/promote", "{\"ID\":5}"),
        post("/v3/maintenance/status", "{}"),
        post("/v3/maintenance/alarm", "{\"action\":\"GET\"}"),
        post("/v3/maintenance/downgrade", "{\"action\":\"VALIDATE\",\"version\":\"soon\"}"),
        post("/v3/maintenance/downgrade", "{\"action\":\"ENABLE\"}"),
        post("/v3/maintenance/downgrade", "{\"action\":\"CANCEL\"}"),
        post("/v3/maintenance/downgrade", "{\"action\":7,\"version\":\"3.4.0\"}"),
        post("/v3/cluster/member/remove", "{\"ID\":\"5\"}"),
        post("/v3/maintenance/transfer-leadership", "{\"targetID\":\"5\"}"),
    ]
}

/// What a body may look like.
fn forms() -> Vec<Row> {
    let range = "/v3/kv/range";
    let same = |headers| with(headers, post(range, "{\"key\":'a'}"));
    vec![
        same(&[("content-type", "application/json; charset=utf-8")]),
        same(&[("content-type", "application/x-www-form-urlencoded")]),
        same(&[("content-type", "text/plain")]),
        same(&[("accept", "text/html"), ("user-agent", "test")]),
        same(&[("grpc-metadata-hasleader", "true")]),
        same(&[("grpc-timeout", "5S")]),
        same(&[("grpc-timeout", "5x")]),
        post(range, ""),
        post(range, "null"),
        post(range, " \n{\"key\":'a'} and more"),
        post(range, "{\"key\":'a',\"unknown\":{\"x\":[1]}}"),
        post(range, "{\"key\":null,\"range_end\":null}"),
        post(range, "{\"key\":'b',\"key\":'a'}"),
        post(range, "{\"key\":'a',\"range_end\":\"\",\"limit\":\" 1\"}"),
        post(range, "{\"key\":\"Y\\r\\nQ==\"}"),
        post(range, "{\"key\":\"YR==\"}"),
        post(range, "{\"key\":'a',\"sort_order\":2}"),
        post(range, "{\"\\u006bey\":\"\\u0059Q==\"}"),
    ]
}

/// What a body may not look like, and paths and methods that are none.
fn refusals() -> Vec<Row> {
    let range = "/v3/kv/range";
    let mut rows: Vec<Row> = [
        "nonsense",
        "[]",
        "\"text\"",
        "17",
        "{",
        "{\"key\":'a'",
        "{\"key\":'a',}",
        "{key:1}",
        "{\"key\":1}",
        "{\"key\":\"!\"}",
        "{\"key\":\"YQ\"}",
        "{\"key\":\"_-==\"}",
        "{\"key\":'a',\"limit\":1.5}",
        "{\"key\":'a',\"limit\":1.0}",
        "{\"key\":'a',\"limit\":\"x\"}",
        "{\"key\":'a',\"limit\":\"\"}",
        "{\"key\":'a',\"limit\":\"+1\"}",
        "{\"key\":'a',\"limit\":\"01\"}",
        "{\"key\":'a',\"limit\":99999999999999999999}",
        "{\"key\":'a',\"limit\":true}",
        "{\"key\":'a',\"serializable\":\"true\"}",
        "{\"key\":'a',\"serializable\":1}",
        "{\"key\":'a',\"sort_order\":\"UP\"}",
        "{\"key\":'a',\"sort_order\":\"1\"}",
        "{\"key\":'a',\"sort_order\":99999999999}",
    ]
    .iter()
    .map(|body| words_differ(range, body))
    .collect();
    let large = |size: usize| post("/v3/kv/put", &format!("{{\"key\":'big',\"value\":\"{}\"}}", "A".repeat(size)));
    rows.extend([large(2_200_000), large(3_200_000)]);
    rows.extend(["GET", "PUT", "DELETE", "PATCH", "HEAD"].map(|method| bare(method, range)));
    rows.extend(["/v3/", "/v3/nothing", "/v3/kv/range/", "/v3/kv/range:x", "/v3/kv", "/v3alpha/kv/range"].map(|path| post(path, "{}")));
    rows.extend([bare("GET", "/v3/watch"), bare("GET", "/v3/nothing")]);
    rows
}

fn plain() -> Vec<Row> {
    let mut rows: Vec<Row> = ["/health", "/health?exclude=NOSPACE", "/version", "/nothing", "/"].map(|path| bare("GET", path)).into();
    rows.extend([bare("POST", "/health"), bare("HEAD", "/health"), bare("POST", "/version"), bare("PUT", "/version")]);
    rows.push(Row { equal: Equal::Head, ..bare("GET", "/metrics") });
    rows
}
