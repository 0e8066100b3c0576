//! L2: what several workers say of themselves, made what one server would say.
//!
//! It knows the texts, not who sent them. Its rule: a counter never falls, though a worker that is
//! replaced begins at 0: what its predecessors were last heard to have counted is kept.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// Gauges that are as low as the lowest, because all workers have to be so.
const LOWEST: [&str; 5] = [
    "wsloop_broker_up",
    "wsloop_redis_up",
    "wsloop_control_heard",
    "wsloop_ready",
    "process_start_time_seconds",
];
/// A gauge that says the same everywhere.
const SAME: &str = "wsloop_build_info";

/// Entries of each list of `/conns`, and how many of them are kept.
const LISTS: [(&str, &str, usize); 4] = [
    ("facilities", "subscriptions", 100),
    ("users", "subscriptions", 100),
    ("groups", "subscriptions", 100),
    ("slowest", "waiting", 10),
];

/// Figures, in the order in which they were said.
#[derive(Clone, Debug, Default)]
pub(crate) struct FigureSet(Vec<Family>);

/// A metric and its values by their labels.
#[derive(Clone, Debug)]
struct Family {
    name: String,
    /// The lines before its values.
    about: String,
    /// It is no gauge, so that it only grows.
    grows: bool,
    values: Vec<(String, f64)>,
}

/// What is known of each worker, and of those that had its place.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Counted by those that have gone.
    gone: FigureSet,
    /// By worker: which process it was, and what it said last.
    last: BTreeMap<usize, (u32, FigureSet)>,
}

impl FigureSet {
    /// Those of a text in the format of Prometheus.
    pub(crate) fn parse(text: &str) -> FigureSet {
        let mut set = FigureSet::default();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next())
            {
                let (name, about) = (name.to_owned(), format!("{line}\n"));
                set.0.push(Family { name, about, grows: false, values: Vec::new() });
            } else if let Some(family) = set.0.last_mut() {
                if line.starts_with('#') {
                    family.grows = !line.ends_with(" gauge");
                    family.about += line;
                    family.about.push('\n');
                } else if let Some((key, value)) = line.rsplit_once(' ') {
                    family.values.extend(value.parse().ok().map(|value| (key.to_owned(), value)));
                }
            }
        }
        set
    }

    /// The value of one without labels; 0 where there is none.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let family = self.0.iter().find(|family| family.name == name);
        family.and_then(|family| family.values.first()).map_or(0.0, |(_, value)| *value)
    }

    /// Adds others, or only those that grow.
    fn add(&mut self, others: &FigureSet, only_growing: bool) {
        for other in &others.0 {
            let at = self.0.iter().position(|family| family.name == other.name);
            let at = at.unwrap_or_else(|| {
                self.0.push(Family { values: Vec::new(), ..other.clone() });
                self.0.len() - 1
            });
            if only_growing && !other.grows {
                continue;
            }
            let family = &mut self.0[at];
            for (key, value) in &other.values {
                match family.values.iter_mut().find(|(known, _)| known == key) {
                    None => family.values.push((key.clone(), *value)),
                    Some((_, sum)) if LOWEST.contains(&&*family.name) => *sum = sum.min(*value),
                    Some(_) if family.name == SAME => {}
                    Some((_, sum)) => *sum += value,
                }
            }
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.0 {
            text += &family.about;
            for (key, value) in &family.values {
                writeln!(text, "{key} {value}").expect("a String takes all");
            }
        }
        text
    }
}

impl Ledger {
    /// All figures as one text. `said` is what each worker says now, with its number and process;
    /// of one that says nothing the counters are as it said them last. `own` is said by the master.
    pub(crate) fn figures(
        &mut self,
        said: Vec<(usize, u32, FigureSet)>,
        own: &FigureSet,
    ) -> String {
        let answered: Vec<usize> = said.iter().map(|(worker, ..)| *worker).collect();
        for (worker, process, figures) in said {
            let before = self.last.insert(worker, (process, figures));
            if let Some((_, counted)) = before.filter(|(last, _)| *last != process) {
                self.gone.add(&counted, true);
            }
        }
        let mut sum = FigureSet::default();
        for (worker, (_, figures)) in &self.last {
            sum.add(figures, !answered.contains(worker));
        }
        sum.add(&self.gone, true);
        sum.add(own, false);
        sum.text()
    }
}

/// Who listens to what, of all workers: `said` is what each says, with its number. Who is in none
/// of their lists is in none of these; a channel that several hear counts for each.
pub(crate) fn conns(said: &[(usize, Value)]) -> Value {
    let mut sums = BTreeMap::<&str, u64>::new();
    for (_, value) in said {
        for (key, value) in value.as_object().into_iter().flatten() {
            let count = value.as_u64().into_iter();
            count.for_each(|count| *sums.entry(key).or_default() += count);
        }
    }
    let mut all = json!(sums);
    for (list, key, most) in LISTS {
        all[list] = match list {
            "slowest" => slowest(said, list, key, most),
            _ => largest(said, list, key, most),
        };
    }
    all
}

/// The entries of a list of each, with the number of the worker.
fn entries<'a>(
    said: &'a [(usize, Value)],
    list: &'a str,
) -> impl Iterator<Item = (usize, &'a Value)> {
    let of = move |(worker, value): &'a (usize, Value)| {
        value[list].as_array().into_iter().flatten().map(|entry| (*worker, entry))
    };
    said.iter().flat_map(of)
}

fn largest(said: &[(usize, Value)], list: &str, key: &str, most: usize) -> Value {
    let mut counts = BTreeMap::<&str, u64>::new();
    for (_, entry) in entries(said, list) {
        let name = entry["name"].as_str().unwrap_or_default();
        *counts.entry(name).or_default() += entry[key].as_u64().unwrap_or(0);
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    all.truncate(most);
    all.into_iter().map(|(name, count)| json!({ "name": name, key: count })).collect()
}

/// Conns of several workers may have the same name, so that it has the worker's before it.
fn slowest(said: &[(usize, Value)], list: &str, key: &str, most: usize) -> Value {
    let named = |(worker, entry): (usize, &Value)| {
        let mut entry = entry.clone();
        let conn = entry["conn"].as_str().unwrap_or_default();
        entry["conn"] = format!("{worker}/{conn}").into();
        entry
    };
    let mut all: Vec<Value> = entries(said, list).map(named).collect();
    all.sort_by_key(|entry| std::cmp::Reverse(entry[key].as_u64()));
    all.truncate(most);
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(up: u32, conns: u32, total: u32, more: &str) -> FigureSet {
        FigureSet::parse(&format!(
            "# HELP wsloop_broker_up Up.\n# TYPE wsloop_broker_up gauge\nwsloop_broker_up {up}\n\
             # HELP wsloop_conns Conns.\n# TYPE wsloop_conns gauge\nwsloop_conns {conns}\n\
             # HELP wsloop_a_total A.\n# TYPE wsloop_a_total counter\nwsloop_a_total {total}\n\
             # HELP wsloop_t T.\n# TYPE wsloop_t histogram\nwsloop_t_bucket{{le=\"0.5\"}} {total}\n\
             wsloop_t_sum 0.25\n{more}"
        ))
    }

    fn value(text: &str, key: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {key}: {text}")).parse().expect("a number")
    }

    #[test]
    fn figures_are_summed_and_counters_never_fall() {
        let mut ledger = Ledger::default();
        let own = FigureSet::parse(
            "# HELP wsloop_workers W.\n# TYPE wsloop_workers gauge\nwsloop_workers 2\n",
        );
        let labelled = "# HELP wsloop_c C.\n# TYPE wsloop_c counter\nwsloop_c{code=\"1\"} 4\n";
        let both = vec![(1, 10, set(1, 3, 100, "")), (2, 20, set(0, 4, 7, labelled))];
        let text = ledger.figures(both, &own);
        for (key, expected) in [
            ("wsloop_broker_up", 0.0),
            ("wsloop_conns", 7.0),
            ("wsloop_a_total", 107.0),
            ("wsloop_t_bucket{le=\"0.5\"}", 107.0),
            ("wsloop_t_sum", 0.5),
            ("wsloop_c{code=\"1\"}", 4.0),
            ("wsloop_workers", 2.0),
        ] {
            assert_eq!(value(&text, key), expected, "{key}");
        }
        assert_eq!(text.matches("# TYPE wsloop_a_total counter\n").count(), 1);
        // The first has died, and then another is there in its place.
        let text = ledger.figures(vec![(2, 20, set(1, 4, 8, ""))], &own);
        assert_eq!((value(&text, "wsloop_a_total"), value(&text, "wsloop_conns")), (108.0, 4.0));
        let next = || vec![(1, 11, set(1, 1, 5, "")), (2, 20, set(1, 4, 8, ""))];
        for _ in 0..2 {
            let text = ledger.figures(next(), &own);
            assert_eq!(value(&text, "wsloop_a_total"), 113.0);
            assert_eq!(
                (value(&text, "wsloop_conns"), value(&text, "wsloop_broker_up")),
                (5.0, 1.0)
            );
        }
    }

    #[test]
    fn who_listens_is_told_of_all() {
        let one = |name: &str, count: u32| json!({ "name": name, "subscriptions": count });
        let slow = |conn: &str, waiting: u32| json!({ "conn": conn, "waiting": waiting });
        let said = [
            (
                1,
                json!({"open": 2, "facilities": [one("a", 1), one("b", 3)], "users": [],
                "groups": [], "slowest": [slow("7.1", 10)]}),
            ),
            (
                2,
                json!({"open": 3, "facilities": [one("a", 4)], "users": [one("u", 1)],
                "groups": [], "slowest": [slow("7.1", 20)]}),
            ),
        ];
        let all = conns(&said);
        assert_eq!(all["open"], 5);
        assert_eq!(all["facilities"], json!([one("a", 5), one("b", 3)]));
        assert_eq!(all["users"], json!([one("u", 1)]));
        assert_eq!(all["slowest"], json!([slow("2/7.1", 20), slow("1/7.1", 10)]));
    }
}
