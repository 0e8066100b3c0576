//! What follows from what sentinels say, by scripted ones.

use super::*;

/// The sentinels at `h:26379` and so on, so many of them.
fn watch(sentinels: usize) -> Watch {
    let host = |at| Target::Tcp { host: format!("h{at}"), port: 26379 };
    let targets = (0..sentinels).map(host).collect();
    let settings = Sentinels { name: "main".to_owned(), targets, user: None, password: None };
    Watch::new(&settings, 5_000, 7)
}

fn link(at: usize) -> LinkId {
    LinkId { index: at as u32, generation: 1 }
}

/// Has the sentinel of that number dialed and greeted.
fn greet(watch: &mut Watch, at: usize, now_ms: u64) {
    watch.dialing(at, link(at));
    watch.connected(at, now_ms);
    take(watch, at);
    let hello = "%1\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n";
    let heard = ">3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n";
    watch.received(at, format!("{hello}{heard}").as_bytes(), now_ms);
}

/// What it was asked.
fn take(watch: &mut Watch, at: usize) -> String {
    let sent = String::from_utf8(watch.unsent(at).to_vec()).expect("text");
    watch.advance(at, sent.len());
    sent
}

/// The answer that Redis is at that port, in that epoch.
fn says(port: u16, epoch: u64) -> String {
    let port = port.to_string();
    let place = format!("*2\r\n$8\r\n10.0.0.1\r\n${}\r\n{port}\r\n", port.len());
    let epoch = epoch.to_string();
    let more = "%2\r\n$4\r\nname\r\n$12\r\nconfig-epoch\r\n$12\r\nconfig-epoch";
    format!("{place}{more}\r\n${}\r\n{epoch}\r\n", epoch.len())
}

fn tell(watch: &mut Watch, at: usize, answer: &str, now_ms: u64) {
    watch.received(at, answer.as_bytes(), now_ms);
}

/// All dialed and greeted, and each says that.
fn told(answers: &[(u16, u64)]) -> Watch {
    let mut watch = watch(answers.len());
    watch.tick(0);
    for (at, (port, epoch)) in answers.iter().enumerate() {
        greet(&mut watch, at, 0);
        tell(&mut watch, at, &says(*port, *epoch), 0);
    }
    while watch.next_notice().is_some() {}
    while watch.next_errand().is_some() {}
    watch
}

fn port(watch: &Watch) -> Option<u16> {
    match watch.target() {
        Some(Target::Tcp { host, port }) if host == "10.0.0.1" => Some(port),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// Why the sentinel was given up, as far as it was said.
fn troubles(watch: &mut Watch) -> Vec<String> {
    let notices = std::iter::from_fn(|| watch.next_notice());
    let useless = notices.filter_map(|notice| match notice {
        SentinelNotice::Useless { reason, .. } => Some(reason),
        _ => None,
    });
    useless.collect()
}

#[test]
fn each_is_dialed_greeted_and_asked() {
    let mut watch = watch(2);
    watch.tick(0);
    for at in 0..2 {
        let target = Target::Tcp { host: format!("h{at}"), port: 26379 };
        assert_eq!(watch.next_errand(), Some(SentinelErrand::Dial(at, target)));
    }
    assert_eq!(watch.next_errand(), None);
    watch.dialing(0, link(0));
    watch.connected(0, 1);
    assert_eq!(watch.to_flush().collect::<Vec<_>>(), [link(0)]);
    let sent = take(&mut watch, 0);
    for words in ["HELLO", "+switch-master", "GET-MASTER-ADDR-BY-NAME", "$4\r\nmain\r\n"] {
        assert!(sent.contains(words), "{sent}");
    }
    assert!(!sent.contains("AUTH"));
}

#[test]
fn the_highest_epoch_counts_and_what_is_lower_does_not() {
    let mut watch = told(&[(1, 4), (1, 4), (1, 4)]);
    assert_eq!(port(&watch), Some(1));
    for (at, answer, expected) in
        [(0, (2, 5), 2), (1, (1, 4), 2), (1, (2, 5), 2), (2, (3, 4), 2), (2, (3, 6), 3)]
    {
        watch.tick(10_000);
        tell(&mut watch, at, &says(answer.0, answer.1), 0);
        assert_eq!(port(&watch), Some(expected), "{at} says {answer:?}");
    }
}

#[test]
fn a_lower_epoch_counts_where_most_say_it() {
    let mut watch = told(&[(1, 9), (1, 9), (1, 9)]);
    for (at, expected) in [(0, 1), (1, 1), (2, 2)] {
        watch.hung_up(at, None, 1_000);
        watch.tick(20_000);
        greet(&mut watch, at, 20_000);
        tell(&mut watch, at, &says(2, 0), 20_000);
        assert_eq!(port(&watch), Some(expected), "{at}");
    }
}

#[test]
fn one_that_is_cut_off_with_the_old_master_is_not_followed_back() {
    let mut watch = told(&[(1, 4), (2, 5), (2, 5)]);
    assert_eq!(port(&watch), Some(2));
    watch.hung_up(1, Some("gone"), 0);
    watch.hung_up(2, Some("gone"), 0);
    watch.tick(1_000);
    tell(&mut watch, 0, &says(1, 4), 1_000);
    assert_eq!(port(&watch), Some(2), "one of three");
    watch.hung_up(0, Some("gone"), 1_000);
    assert!(watch.is_dark());
    assert_eq!(port(&watch), Some(2), "Redis is where it was");
}

#[test]
fn one_epoch_with_two_names_does_not_make_it_move_to_and_fro() {
    let mut watch = told(&[(1, 0), (2, 0), (2, 0)]);
    for _ in 0..3 {
        for (at, port_said) in [(1, 2), (0, 1), (2, 2)] {
            watch.tick(100_000);
            tell(&mut watch, at, &says(port_said, 0), 0);
            assert_eq!(port(&watch), Some(1));
        }
    }
}

#[test]
fn of_two_addresses_of_one_epoch_the_one_that_is_a_replica_is_left() {
    let mut watch = told(&[(1, 0), (2, 0), (1, 0)]);
    for expected in [2, 1, 2] {
        watch.refute();
        assert_eq!(port(&watch), Some(expected));
        assert!(matches!(watch.next_notice(), Some(SentinelNotice::Found { .. })));
        watch.tick(100_000);
        tell(&mut watch, 0, &says(1, 0), 0);
        assert_eq!(port(&watch), Some(expected), "until that is a replica, too");
    }
    let mut watch = told(&[(1, 3), (2, 2)]);
    watch.refute();
    assert_eq!(port(&watch), Some(1), "what is older is no better");
}

#[test]
fn what_is_announced_is_asked_about_at_once() {
    let mut watch = told(&[(1, 4), (1, 4)]);
    let push = |text: &str| {
        format!(">3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${}\r\n{text}\r\n", text.len())
    };
    tell(&mut watch, 0, &push("other 10.0.0.1 1 10.0.0.1 2"), 10);
    watch.tick(10);
    assert_eq!(watch.to_flush().count(), 0);
    tell(&mut watch, 0, &push("main 10.0.0.1 1 10.0.0.1 2"), 10);
    assert_eq!(watch.deadline_ms(), 10);
    watch.tick(10);
    assert_eq!(watch.to_flush().count(), 2, "all are asked");
    tell(&mut watch, 0, &says(2, 5), 11);
    assert_eq!(port(&watch), Some(2));
    let by = Target::Tcp { host: "h0".to_owned(), port: 26379 };
    let at = Target::Tcp { host: "10.0.0.1".to_owned(), port: 2 };
    assert_eq!(watch.next_notice(), Some(SentinelNotice::Found { at, epoch: 5, by }));
}

#[test]
fn whoever_does_not_answer_is_given_up_and_dialed_again() {
    let mut watch = told(&[(1, 4)]);
    watch.tick(1_000);
    assert!(!watch.is_dark());
    watch.tick(6_000);
    assert_eq!(watch.next_errand(), Some(SentinelErrand::Close(link(0))));
    assert_eq!(troubles(&mut watch), ["it did not answer in time"]);
    assert!(watch.is_dark());
    for now_ms in [6_100, 7_000, 8_000] {
        watch.tick(now_ms);
        while watch.next_errand().is_some() {}
        watch.hung_up(0, Some("it did not answer in time"), now_ms);
        assert_eq!(troubles(&mut watch), Vec::<String>::new(), "it is said once");
    }
}

#[test]
fn of_a_dial_by_tls_that_nothing_came_of_it_is_said_that_it_may_not_be_spoken() {
    for spoken in [true, false] {
        let host = "h0".to_owned();
        let target = match spoken {
            true => Target::Tls { host, port: 26379 },
            false => Target::Tcp { host, port: 26379 },
        };
        let targets = vec![target];
        let settings = Sentinels { name: "main".to_owned(), targets, user: None, password: None };
        let mut watch = Watch::new(&settings, 5_000, 7);
        watch.tick(0);
        watch.dialing(0, link(0));
        watch.tick(5_000);
        assert_eq!(troubles(&mut watch)[0].contains("not speak TLS"), spoken);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_mend() {
    let known = says(1, 1);
    let unknown = "_\r\n-ERR No such master with that name\r\n";
    for (greeting, answer, words) in [
        ("%1\r\n+mode\r\n+standalone\r\n", "", "no Sentinel but a Redis"),
        ("-NOAUTH HELLO must be called\r\n", "", "--redis-sentinel-password"),
        ("-WRONGPASS no\r\n", "", "mend --redis-sentinel-user"),
        ("%1\r\n+mode\r\n+sentinel\r\n-NOPERM no\r\n", known.as_str(), ""),
        ("%1\r\n+mode\r\n+sentinel\r\n-NOPERM no\r\n", unknown, "no Redis of the name main"),
        ("%1\r\n+mode\r\n+sentinel\r\n-NOPERM no\r\n", "-NOPERM no\r\n", "refuses to say"),
        ("%1\r\n+mode\r\n+sentinel\r\n-NOPERM no\r\n", "*2\r\n$1\r\nh\r\n$1\r\n0\r\n", "none"),
        ("%1\r\n+mode\r\n+sentinel\r\n-NOPERM no\r\n", "*2\r\n$0\r\n\r\n$1\r\n1\r\n", "none"),
        ("+OK\r\n", "", "something else"),
        ("?\r\n", "", ""),
    ] {
        let mut watch = watch(1);
        watch.tick(0);
        watch.dialing(0, link(0));
        watch.connected(0, 0);
        // It comes in pieces.
        for byte in format!("{greeting}{answer}").into_bytes() {
            watch.received(0, &[byte], 0);
        }
        let troubles = troubles(&mut watch);
        match answer == known {
            true => assert!(troubles.is_empty() && port(&watch) == Some(1), "{troubles:?}"),
            false => assert!(troubles[0].contains(words), "{greeting}{answer}: {troubles:?}"),
        }
    }
}

#[test]
fn a_dial_that_is_not_wanted_any_more_is_closed() {
    let mut watch = watch(1);
    watch.tick(0);
    assert!(matches!(watch.next_errand(), Some(SentinelErrand::Dial(0, _))));
    watch.tick(5_000);
    watch.dialing(0, link(3));
    let errands: Vec<_> = std::iter::from_fn(|| watch.next_errand()).collect();
    assert_eq!(errands, [SentinelErrand::Close(link(3))]);
    assert_eq!(watch.link(0), None);
}
