//! What a declaration may say, and what is said of those that say something else.

use super::*;

const GOOD: &str = "name = 'x'\npurpose = 'y'\nseconds = 5\n";

fn refusal(text: &str) -> String {
    format!("{:#}", parse(text).expect_err(text))
}

#[test]
fn the_programs_own_drills_are_valid_and_of_different_names() {
    let names: std::collections::BTreeSet<String> = built_in().into_iter().map(|drill| drill.name).collect();
    assert_eq!(names.len(), BUILT_IN.len());
    assert!(built_in().iter().all(|drill| drill.seconds < 60), "a drill takes less than a minute");
}

#[test]
fn a_drill_has_a_load_without_saying_so() {
    let drill = parse(&format!("{GOOD}[[fault]]\nat-ms = 1\nfor-ms = 2\nkind = 'kill'\nnode = 'n3'")).expect("valid");
    assert_eq!((drill.nodes, drill.load), (3, Load::default()));
    assert_eq!((drill.faults[0].node, drill.faults[0].kind), (Target::Number(3), Kind::Kill));
    assert_eq!(drill.needs(), [(Need::Processes, Kind::Kill)]);
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let fault = |rest: &str| format!("{GOOD}[[fault]]\n{rest}");
    for (text, expected) in [
        ("name = 'x'".to_string(), "missing field `purpose`"),
        (format!("{GOOD}speed = 3"), "line 4: unknown field `speed`"),
        (GOOD.replace('x', "list"), "name is \"list\": use"),
        (GOOD.replace('5', "0"), "seconds is 0: give 1 to 3600"),
        (format!("{GOOD}[load]\nrate = 0"), "load.rate is 0: give 1 to 20000"),
        (format!("{GOOD}[load]\nput = 0\nget = 0\ncompare = 0\ndelete = 0"), "load.put + get + compare + delete is 0"),
        (format!("{GOOD}[expect]\navailability = 2.0"), "expect.availability is 2"),
        (fault("at-ms = 1\nkind = 'kill'\nnode = 'x1'"), "use leader, follower, any, all, or n1 to n9"),
        (fault("at-ms = 1\nkind = 'hug'\nnode = 'n1'"), "unknown variant `hug`"),
        (fault("at-ms = 1\nfor-ms = 1\nkind = 'kill'\nnode = 'n4'"), "fault 1: node is n4: there are 3 nodes"),
        (fault("at-ms = 1\nkind = 'kill'\nnode = 'n1'"), "for-ms is missing"),
        (fault("at-ms = 1\nfor-ms = 1\nkind = 'restart'\nnode = 'n1'"), "for-ms means nothing"),
        (fault("at-ms = 9000\nfor-ms = 1\nkind = 'kill'\nnode = 'n1'"), "at-ms is 9000: give 0 to 4999"),
        (fault("at-ms = 1\nfor-ms = 1\nkind = 'slow-disk'\nnode = 'n1'"), "ms is missing"),
        (fault("at-ms = 1\nfor-ms = 1\nkind = 'one-way'\nnode = 'n1'"), "direction is missing"),
        (fault("at-ms = 1\nfor-ms = 1\nkind = 'full-disk'\nnode = 'n1'"), "disk-mib is missing"),
    ] {
        assert!(refusal(&text).contains(expected), "{text}: {}", refusal(&text));
    }
}

#[test]
fn an_unknown_name_is_refused_with_those_that_there_are() {
    let error = find(&["nonsense".into()]).expect_err("unknown");
    assert!(error.is::<UsageError>() && error.to_string().contains("kill-leader"), "{error}");
}
