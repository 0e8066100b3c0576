//! L4: how many processes serve: the flag `--workers`, and what it asks of other flags.

use super::draft::ServerDraft;
use super::table::Absent::Value;
use super::table::Takes::Text;
use super::table::{Flag, Wrong, put};
use super::values;

/// More are a mistake, or a machine that nobody has tried this on.
const MOST_WORKERS: usize = 256;

pub(super) const FLAG: Flag<ServerDraft> = Flag {
    name: "workers",
    variable: "WSLOOP_WORKERS",
    takes: Text("COUNT|auto", |draft, text| put(&mut draft.workers, Workers::parse(text))),
    default: Value("1"),
    help: "Processes that serve browsers, at the same addresses, started by one that serves none; \
           `auto` is one for each core; more than one need `--redis`, and limits are for each",
};

/// How many are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workers {
    /// So many.
    Count(usize),
    /// As many as there are cores.
    Auto,
}

impl Workers {
    fn parse(text: &str) -> Result<Workers, String> {
        match text {
            "auto" => Ok(Workers::Auto),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                values::count(text, 1..=MOST_WORKERS).map(Workers::Count)
            }
            _ => {
                let quoted = values::quoted(text);
                Err(format!("{quoted} is no number of processes; write a number, or auto"))
            }
        }
    }

    /// How many there are to be, and perhaps what is to be said of that, where a server has Redis
    /// or not and says its figures on its public port or not.
    pub(super) fn finish(
        self,
        has_redis: bool,
        is_measured: bool,
    ) -> Result<(usize, Option<String>), Wrong> {
        let several = self != Workers::Count(1) && (has_redis || self != Workers::Auto);
        if several && is_measured {
            let why = "on the public port one of several workers would tell its own figures; \
                       --admin has those of all: give that instead, or --workers 1";
            return Err(Wrong { flag: "metrics", why: why.to_owned() });
        }
        match self {
            Workers::Count(count) if count > 1 && !has_redis => {
                let why = "several workers hear each other's messages through Redis alone, and the \
                           embedded broker is one process's: give --redis, or --workers 1";
                Err(Wrong { flag: "workers", why: why.to_owned() })
            }
            Workers::Count(count) => Ok((count, None)),
            Workers::Auto if has_redis => Ok((cores(), None)),
            Workers::Auto => {
                let note = "--workers auto is 1: the embedded broker is one process's; with \
                            --redis it is one for each core";
                Ok((1, Some(note.to_owned())))
            }
        }
    }
}

/// The cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_WORKERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_there_are() {
        for (text, has_redis, count) in [
            ("1", false, 1),
            ("1", true, 1),
            ("256", true, 256),
            ("auto", false, 1),
            ("auto", true, cores()),
        ] {
            let (told, note) =
                Workers::parse(text).expect(text).finish(has_redis, false).expect(text);
            assert_eq!((told, note.is_some()), (count, text == "auto" && !has_redis), "{text}");
        }
        for text in ["0", "257", "", "-1", "two", "AUTO"] {
            assert!(Workers::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_shared_and_what_is_given_is_for_each() {
        let of = |args: &[&str]| {
            let args = [&["wsloop", "--redis=redis://h"], args].concat();
            let matches = crate::config::command("wsloop").try_get_matches_from(args);
            let config = crate::config::serve(&matches.expect("known flags"), 20_000);
            let config = config.unwrap_or_else(|line| panic!("{line}"));
            (config.workers, config.settings.memory_limit, config.settings.max_connections)
        };
        let (one, all, conns) = of(&[]);
        assert_eq!((one, of(&["--workers=4"])), (1, (4, all / 4, conns)));
        assert_eq!(of(&["--workers=4", "--memory-limit=1MiB"]).1, 1 << 20);
    }

    #[test]
    fn what_does_not_go_with_several() {
        let flag = |workers: Workers, redis, measured| {
            workers.finish(redis, measured).err().map(|wrong| wrong.flag)
        };
        assert_eq!(flag(Workers::Count(2), false, false), Some("workers"));
        assert_eq!(flag(Workers::Count(2), true, true), Some("metrics"));
        // The same on every machine, however many cores it has.
        assert_eq!(flag(Workers::Auto, true, true), Some("metrics"));
        assert_eq!(flag(Workers::Auto, false, true), None);
        assert_eq!(flag(Workers::Count(1), false, true), None);
    }
}
