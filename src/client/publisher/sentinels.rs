//! L4: where the sentinels of a Redis say that its master is, for a program that may block.
//!
//! It knows links to the sentinels and what they said last, and not Redis itself. Its rules:
//! - All sentinels are asked, and the newest of their answers counts, so that one that was cut off
//!   together with an old master misleads nobody. What is older than what was followed before
//!   counts only where most of them say it.
//! - A master that the sentinels hold for dead is not gone to, even if it still takes connections.
//! - When no sentinel answers, Redis stays where it was.
//! - One that does not answer is left alone for a while, as long as others do.

use std::time::{Duration, Instant};

use super::link::{Fault, Link};
use crate::broker::{RedisAddress, RedisSettings, Sentinels};
use crate::link::Target;
use crate::net::ClientTls;
use crate::proto::resp::scalars;

/// After so long they are asked again, when something is published.
const EVERY: Duration = Duration::from_secs(1);
/// So long one that did not answer is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// Longest that one of them is waited for.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of one master.
#[derive(Debug)]
pub(super) struct Guide {
    sentinels: Sentinels,
    /// To each of them.
    links: Vec<Asked>,
    found: Option<Target>,
    /// The epoch of what was followed last.
    epoch: u64,
    /// When they are to be asked again.
    due: Option<Instant>,
}

/// One sentinel.
#[derive(Debug, Default)]
struct Asked {
    link: Option<Link>,
    left_alone_until: Option<Instant>,
}

/// Why a master is not known.
#[derive(Debug)]
pub(super) struct Missed {
    pub fault: Fault,
    /// It will not be otherwise in a moment.
    pub is_final: bool,
}

/// What one sentinel says. The newest is the greatest, and of equals one that is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    epoch: u64,
    is_up: bool,
    host: String,
    port: u16,
}

impl Guide {
    pub(super) fn new(sentinels: &Sentinels) -> Guide {
        let links = sentinels.targets.iter().map(|_| Asked::default()).collect();
        Guide { sentinels: sentinels.clone(), links, found: None, epoch: 0, due: None }
    }

    /// Where the master is: as was said a moment ago, or as the sentinels say now.
    pub(super) fn look(
        &mut self,
        tls: Option<&ClientTls>,
        deadline: Instant,
    ) -> Result<Target, Missed> {
        let now = Instant::now();
        if let Some(found) = &self.found
            && self.due.is_some_and(|due| now < due)
        {
            return Ok(found.clone());
        }
        let is_awake = |asked: &Asked| asked.left_alone_until.is_none_or(|until| until <= now);
        let all = !self.links.iter().any(is_awake);
        let (mut views, mut faults) = (Vec::new(), Vec::new());
        for (target, asked) in self.sentinels.targets.iter().zip(&mut self.links) {
            if !all && !is_awake(asked) {
                continue;
            }
            match asked.view(target, &self.sentinels, tls, deadline) {
                Ok(view) => views.push(view),
                Err(fault) => {
                    asked.left_alone_until = Some(Instant::now() + LEFT_ALONE);
                    faults.push((target.clone(), fault));
                }
            }
        }
        self.due = Some(Instant::now() + EVERY);
        self.conclude(views, faults)
    }

    /// Something went wrong: they are asked before anything else is sent.
    pub(super) fn doubt(&mut self) {
        self.due = None;
    }

    /// There is no master where they said.
    pub(super) fn forget(&mut self) {
        self.found = None;
    }

    fn conclude(
        &mut self,
        views: Vec<View>,
        faults: Vec<(Target, Fault)>,
    ) -> Result<Target, Missed> {
        let is_down = !views.is_empty();
        let newest = views.iter().max().cloned();
        // What is older counts only where most say it: they were set up anew.
        let counts = |newest: &View| {
            let same = |view: &&View| View { is_up: newest.is_up, ..(*view).clone() } == *newest;
            newest.epoch >= self.epoch
                || views.iter().filter(same).count() * 2 > self.sentinels.targets.len()
        };
        if let Some(View { epoch, is_up, host, port }) = newest.filter(counts) {
            self.epoch = epoch;
            let found = match self.sentinels.is_tls() {
                true => Target::Tls { host, port },
                false => Target::Tcp { host, port },
            };
            self.found = is_up.then_some(found);
        }
        let name = &self.sentinels.name;
        match &self.found {
            Some(found) => Ok(found.clone()),
            None if is_down => {
                let fault =
                    Fault::Unreachable(format!("the sentinels have no master for {name} now"));
                Err(Missed { fault, is_final: false })
            }
            None => {
                let is_final = faults.iter().all(|(_, fault)| matches!(fault, Fault::Login(_)));
                let whys = faults.into_iter().map(|(target, fault)| match fault {
                    Fault::Unreachable(why)
                    | Fault::Login(why)
                    | Fault::Untaken(why)
                    | Fault::Lost(why) => format!("{target}: {why}"),
                });
                let whys = whys.collect::<Vec<_>>().join("; ");
                let fault = Fault::Unreachable(format!("no sentinel says where it is: {whys}"));
                Err(Missed { fault, is_final })
            }
        }
    }
}

impl Asked {
    /// What it says, asked on its kept link or on a new one.
    fn view(
        &mut self,
        target: &Target,
        sentinels: &Sentinels,
        tls: Option<&ClientTls>,
        deadline: Instant,
    ) -> Result<View, Fault> {
        let deadline = deadline.min(Instant::now() + TIMEOUT);
        let question = [&b"SENTINEL"[..], b"MASTER", sentinels.name.as_bytes()];
        if let Some(mut link) = self.link.take()
            && let Ok(answer) = link.answer(&question, deadline)
        {
            self.link = Some(link);
            return read(answer);
        }
        let settings = RedisSettings {
            address: RedisAddress::Fixed(target.clone()),
            user: sentinels.user.clone(),
            password: sentinels.password.clone(),
            db: 0,
            timeout_ms: 0,
            buffer_limit: 0,
            window: 0,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let mut link = Link::dial(target, &settings, tls, left)?;
        let answer = link.answer(&question, deadline)?;
        self.link = Some(link);
        read(answer)
    }
}

/// What an answer says. What a sentinel refuses it will refuse again.
fn read(answer: Result<Vec<u8>, String>) -> Result<View, Fault> {
    let answer = answer.map_err(Fault::Login)?;
    view(&answer).ok_or_else(|| Fault::Login("this is no answer of a sentinel".to_owned()))
}

fn view(answer: &[u8]) -> Option<View> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (mut epoch, mut is_up, mut host, mut port) = (None, None, None, None);
    let mut words = scalars(answer);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        match key {
            b"config-epoch" => epoch = Some(text(value)?.parse().ok()?),
            b"ip" => host = Some(text(value)?.to_owned()).filter(|host| !host.is_empty()),
            b"port" => port = Some(text(value)?.parse().ok()?).filter(|port| *port != 0),
            b"flags" => {
                let mut flags = text(value)?.split(',');
                let is_down = |flag| matches!(flag, "s_down" | "o_down");
                is_up = Some(flags.clone().any(|flag| flag == "master") && !flags.any(is_down));
            }
            _ => {}
        }
    }
    Some(View { epoch: epoch?, is_up: is_up?, host: host?, port: port? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide() -> Guide {
        let target = |port| Target::Tcp { host: "h".to_owned(), port };
        let targets = vec![target(1), target(2)];
        let name = "main".to_owned();
        Guide::new(&Sentinels { name, targets, user: None, password: None })
    }

    fn said(epoch: u64, is_up: bool, port: u16) -> View {
        View { epoch, is_up, host: "h".to_owned(), port }
    }

    #[test]
    fn the_newest_counts_and_of_equals_one_that_is_up() {
        let cases = [
            (vec![said(1, true, 1)], Some(1)),
            (vec![said(1, true, 1), said(2, true, 2), said(1, true, 1)], Some(2)),
            (vec![said(1, false, 1), said(1, true, 1)], Some(1)),
            (vec![said(1, true, 1), said(2, false, 2)], None),
            (vec![said(1, false, 1)], None),
        ];
        for (views, expected) in cases {
            let shown = format!("{views:?}");
            let found = guide().conclude(views, Vec::new());
            let expected = expected.map(|port| Target::Tcp { host: "h".to_owned(), port });
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{shown}");
            let is_final = found.is_err_and(|missed| missed.is_final);
            assert!(!is_final, "{shown}");
        }
    }

    #[test]
    fn redis_stays_where_it_was_when_nobody_answers_and_a_refusal_is_final() {
        let target = Target::Tcp { host: "s".to_owned(), port: 1 };
        let away = || (target.clone(), Fault::Unreachable("away".to_owned()));
        let refused = || (target.clone(), Fault::Login("no".to_owned()));
        let mut guide = guide();
        for (faults, is_final) in [
            (vec![away()], false),
            (vec![away(), refused()], false),
            (vec![refused(), refused()], true),
        ] {
            let missed = guide.conclude(Vec::new(), faults).expect_err("it was never known");
            assert_eq!(missed.is_final, is_final);
        }
        guide.conclude(vec![said(1, true, 1)], Vec::new()).expect("it is said");
        guide.conclude(Vec::new(), vec![away()]).expect("it was known");
        guide.forget();
        let missed = guide.conclude(Vec::new(), vec![away()]).expect_err("it is forgotten");
        let why = "no sentinel says where it is: s:1: away".to_owned();
        assert_eq!(missed.fault, Fault::Unreachable(why));
    }

    #[test]
    fn what_is_older_counts_only_where_most_say_it() {
        let mut guide = guide();
        let sentinels = guide.sentinels.targets.len();
        let port = |target: Result<Target, Missed>| match target {
            Ok(Target::Tcp { port, .. }) => port,
            other => panic!("{other:?}"),
        };
        assert_eq!(port(guide.conclude(vec![said(6, true, 2)], Vec::new())), 2);
        assert_eq!(port(guide.conclude(vec![said(5, true, 1)], Vec::new())), 2, "one of several");
        let all = (0..sentinels).map(|_| said(5, true, 1)).collect();
        assert_eq!(port(guide.conclude(all, Vec::new())), 1);
        assert_eq!(port(guide.conclude(vec![said(5, true, 3)], Vec::new())), 3, "as old as that");
    }

    #[test]
    fn an_answer_is_read_whatever_else_is_in_it() {
        let map =
            b"%5\r\n$4\r\nname\r\n$2\r\nip\r\n$2\r\nip\r\n$1\r\nh\r\n$4\r\nport\r\n$1\r\n7\r\n\
                    $5\r\nflags\r\n$6\r\nmaster\r\n$12\r\nconfig-epoch\r\n$1\r\n3\r\n";
        assert_eq!(view(map), Some(said(3, true, 7)));
        let array = [b"*10\r\n", &map[4..]].concat();
        assert_eq!(view(&array), Some(said(3, true, 7)));
        let with = |from: &str, to: &str| {
            let text = std::str::from_utf8(map).expect("a text");
            assert!(text.contains(from), "{from}");
            view(text.replace(from, to).as_bytes())
        };
        let down = with("$6\r\nmaster", "$13\r\nmaster,s_down");
        assert_eq!(down, Some(said(3, false, 7)));
        assert_eq!(with("$6\r\nmaster", "$5\r\nslave"), Some(said(3, false, 7)));
        for (from, to) in [
            ("$1\r\n7", "$1\r\n0"),
            ("$1\r\n7", "$5\r\n99999"),
            ("$1\r\nh", "$0\r\n"),
            ("$1\r\n3", "$2\r\n-3"),
            ("config-epoch", "config-egoch"),
        ] {
            assert_eq!(with(from, to), None, "{to}");
        }
        for end in 0..map.len() {
            assert_eq!(view(&map[..end]), None, "{end}");
        }
    }
}
