//! Scans of a few elements: clients that take Redis's order for granted get it.

use steadfast_available::Keyspace;
use steadfast_crdt::Actor;
use steadfast_redis_api::engine::session::Session;

mod support;

use support::host::TestHost;
use support::{run, words};

#[test]
fn a_few_elements_are_scanned_in_the_order_of_redis() {
    let (mut keys, mut host) = (Keyspace::new(Actor::new(1).expect("a place")), TestHost::default());
    let mut session = Session::new(7, true);
    let mut say =
        |line: &str| String::from_utf8(run(&mut session, &mut keys, &mut host, &words(line)).0).expect("text").replace("\r\n", " ");
    say("SADD numbers 10 9 -1 200 0 7");
    assert_eq!(say("SSCAN numbers 0"), "*2 $1 0 *6 $2 -1 $1 0 $1 7 $1 9 $2 10 $3 200 ");
    say("ZADD scores 3 a 2 c 2 b -inf z 1.5 d");
    assert_eq!(say("ZSCAN scores 0"), "*2 $1 0 *10 $1 z $4 -inf $1 d $3 1.5 $1 b $1 2 $1 c $1 2 $1 a $1 3 ");
    say("SADD words 10 9 one");
    let mut found: Vec<String> = say("SSCAN words 0").split(' ').filter(|word| !word.starts_with(['$', '*'])).map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["", "0", "10", "9", "one"], "all are there, in any order");
}
