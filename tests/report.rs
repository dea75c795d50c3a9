//! `report()` in a program that does other things at the same time: the visitor is ordinary code, which may print, wait
//! and panic.

invar::key! { #[name = "test.reported"] static REPORTED: bool = |_| Ok(true); }

fn names() -> Vec<String> {
    let mut names = Vec::new();
    invar::report().modules(|module| names.extend(module.keys().map(|key| key.name().to_owned())));
    names
}

#[test]
fn a_visitor_may_wait_for_somebody_who_reports() {
    assert!(invar::branch!(REPORTED));
    let mut found = false;
    invar::report().modules(|_| {
        // Under the loader's lock this would wait for ever.
        let theirs = std::thread::spawn(names).join().expect("the other thread's report");
        found |= theirs.iter().any(|name| name == "test.reported");
    });
    assert!(found);
}

#[test]
fn a_visitor_may_panic() {
    let panicked = std::panic::catch_unwind(|| invar::report().modules(|_| panic!("as a visitor may")));
    assert!(panicked.is_err());
    assert!(names().iter().any(|name| name == "test.reported"));
}

#[test]
fn a_report_is_the_same_to_all_who_ask() {
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| invar::report().to_string())).collect();
        threads.into_iter().map(|thread| thread.join().expect("a report")).collect()
    });
    assert!(reports[0].contains("\n  key test.reported = on (probe)\n"), "{}", reports[0]);
    assert!(reports.iter().all(|report| *report == reports[0]));
}
