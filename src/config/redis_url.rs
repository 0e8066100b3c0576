//! L4: the URL of a Redis.
//!
//! `redis://[user:password@]host[:port][/db]`, `rediss://` for the same by TLS, `valkey://` and
//! `valkeys://` for both, and
//! `redis+unix://[user:password@]/path[?db=N]` (`unix://` for short), with percent escapes in user,
//! password and path. `redis+sentinel://[user:password@]host[:port],host[:port]/name[/db]` is the
//! Redis that these sentinels watch under that name, `rediss+sentinel://` all of it by TLS.
//! `redis+cluster://[user:password@]host[:port],host[:port]` is the cluster that these nodes are
//! of, `rediss+cluster://` the same by TLS. What is wrong is said without repeating any part of the
//! URL that may be a password, which is every part.

use percent_encoding::percent_decode_str;

use crate::broker::{Clustered, RedisAddress, RedisSettings, Sentinels, Sharding};
use crate::link::Target;
use crate::link::authority;

const FORM: &str = "write redis://[user:password@]host[:port][/db], rediss:// for TLS, or \
     redis+unix:///path/of/socket?db=0";
const SENTINEL_FORM: &str = "write redis+sentinel://[user:password@]host[:port],host[:port]/NAME \
     or …/NAME/db, where NAME is what the sentinels call the Redis that they watch, or \
     rediss+sentinel:// for TLS";
const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Sentinels, or nodes of a cluster, in one URL.
const MAX_HOSTS: usize = 16;
const CLUSTER_FORM: &str = "write redis+cluster://[user:password@]host[:port],host[:port] with \
     some of its nodes, or rediss+cluster:// for TLS";

/// Each URL of a text that may have several, with white space or commas between: one begins where a
/// scheme does. A comma or a space elsewhere belongs to the URL.
pub(crate) fn each(text: &str) -> impl Iterator<Item = &str> {
    // A file with variables may have a line end behind it.
    let text = text.trim();
    let is_between = |c: char| c == ',' || c.is_whitespace();
    let scheme = |end: usize| {
        let before = text[..end].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+');
        before.ends_with(is_between).then_some(before.len())
    };
    let begins: Vec<usize> = text.match_indices("://").filter_map(|(at, _)| scheme(at)).collect();
    let ends = begins.clone().into_iter().map(Some).chain([None]);
    let begins = [0].into_iter().chain(begins);
    begins.zip(ends).map(move |(begin, end)| match end {
        Some(end) => text[begin..end].trim_end_matches(is_between),
        None => &text[begin..],
    })
}

/// Reads a URL. It says nothing about time and room, which the caller fills in.
pub(crate) fn parse(url: &str) -> Result<RedisSettings, String> {
    if url.is_empty() {
        return Err(format!("the URL is empty; leave it out for the embedded broker, or {FORM}"));
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let form = form_like(scheme);
        return Err(format!("the URL has white space in it; {form}, with %20 for a space"));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("the URL has no scheme; {FORM}"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let after_authority = path.contains('@') || query.is_some_and(|query| query.contains('@'));
    if after_authority || rest.contains('#') {
        let why = "the URL has an @ or a # in a place where neither can be; in a user or password \
                   write / as %2F, ? as %3F, # as %23 and @ as %40, and";
        return Err(format!("{why} {FORM}"));
    }
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (Some(userinfo), host),
        None => (None, authority),
    };
    let (user, password) = userinfo.map_or(Ok((None, None)), credentials)?;
    if let Some(is_tls) = sentinel_scheme(&scheme) {
        let (address, db) = watched(host, path, query, is_tls)?;
        return Ok(settings(address, user, password, db));
    }
    if let Some(is_tls) = cluster_scheme(&scheme) {
        let address = clustered(host, path, query, is_tls)?;
        return Ok(settings(address, user, password, 0));
    }
    let (target, db) = match scheme.as_str() {
        "redis" | "valkey" | "rediss" | "valkeys" if query.is_some() => {
            return Err(format!("the URL has a query, which only redis+unix takes; {FORM}"));
        }
        "rediss" | "valkeys" => {
            (secured(tcp_target(host)?), database(path.trim_start_matches('/'), FORM)?)
        }
        "redis" | "valkey" => (tcp_target(host)?, database(path.trim_start_matches('/'), FORM)?),
        "unix" | "redis+unix" if !host.is_empty() => {
            return Err(format!("the path of the socket must begin with a slash; {FORM}"));
        }
        "unix" | "redis+unix" => (unix_target(path)?, query_database(query)?),
        _ => {
            let form = form_like(&scheme);
            return Err(format!(
                "the URL's scheme is none of redis, rediss, redis+unix, redis+sentinel and \
                 redis+cluster; {form}"
            ));
        }
    };
    Ok(settings(RedisAddress::Fixed(target), user, password, db))
}

/// How to write what a scheme, perhaps a wrong one, seems to mean.
fn form_like(scheme: &str) -> &'static str {
    let scheme = scheme.to_ascii_lowercase();
    let forms = [("cluster", CLUSTER_FORM), ("sentinel", SENTINEL_FORM)];
    forms.into_iter().find(|(word, _)| scheme.contains(word)).map_or(FORM, |(_, form)| form)
}

fn settings(
    address: RedisAddress,
    user: Option<String>,
    password: Option<String>,
    db: u32,
) -> RedisSettings {
    RedisSettings { address, user, password, db, timeout_ms: 0, buffer_limit: 0, window: 0 }
}

/// Whether a scheme is for sentinels, and then if it is by TLS.
fn sentinel_scheme(scheme: &str) -> Option<bool> {
    match scheme {
        "redis+sentinel" | "valkey+sentinel" => Some(false),
        "rediss+sentinel" | "valkeys+sentinel" => Some(true),
        _ => None,
    }
}

/// The same for nodes of a cluster.
fn cluster_scheme(scheme: &str) -> Option<bool> {
    match scheme {
        "redis+cluster" | "valkey+cluster" => Some(false),
        "rediss+cluster" | "valkeys+cluster" => Some(true),
        _ => None,
    }
}

/// The nodes of a cluster.
fn clustered(
    hosts: &str,
    path: &str,
    query: Option<&str>,
    is_tls: bool,
) -> Result<RedisAddress, String> {
    if query.is_some() {
        return Err(format!("the URL has a query, which only redis+unix takes; {CLUSTER_FORM}"));
    }
    if !matches!(path, "" | "/" | "/0") {
        return Err(format!(
            "the URL has a path, but a cluster has only database 0; {CLUSTER_FORM}"
        ));
    }
    let seeds = targets(hosts, is_tls, DEFAULT_PORT, ("of the cluster", CLUSTER_FORM))?;
    if seeds.len() > MAX_HOSTS {
        let nodes = seeds.len();
        return Err(format!("the URL names {nodes} nodes, over {MAX_HOSTS}; a few will do"));
    }
    if has_one_twice(&seeds) {
        return Err(format!("the URL names a node twice; {CLUSTER_FORM}"));
    }
    Ok(RedisAddress::Cluster(Clustered { seeds, form: Sharding::Off }))
}

/// Hosts with a comma between, which are asked by TLS or not.
fn targets(
    hosts: &str,
    is_tls: bool,
    port: u16,
    (whose, form): (&str, &str),
) -> Result<Vec<Target>, String> {
    let target = |host| {
        let target = authority::tcp(host, port);
        let target = target.map_err(|why| format!("{whose}, {why}; {form}"))?;
        Ok(if is_tls { secured(target) } else { target })
    };
    hosts.split(',').map(target).collect()
}

fn has_one_twice(targets: &[Target]) -> bool {
    (1..targets.len()).any(|at| targets[..at].contains(&targets[at]))
}

/// The sentinels, the name of what they watch, and the database there.
fn watched(
    hosts: &str,
    path: &str,
    query: Option<&str>,
    is_tls: bool,
) -> Result<(RedisAddress, u32), String> {
    if query.is_some() {
        return Err(format!("the URL has a query, which only redis+unix takes; {SENTINEL_FORM}"));
    }
    let targets = targets(hosts, is_tls, SENTINEL_PORT, ("of the sentinels", SENTINEL_FORM))?;
    if targets.len() > MAX_HOSTS {
        return Err(format!("the URL names {} sentinels, over {MAX_HOSTS}", targets.len()));
    }
    if has_one_twice(&targets) {
        return Err(format!("the URL names a sentinel twice; {SENTINEL_FORM}"));
    }
    let path = path.strip_prefix('/').unwrap_or_default();
    let (name, db) = path.split_once('/').unwrap_or((path, ""));
    let name = decoded(name)?;
    if name.contains(char::is_control) {
        return Err("the name of what the sentinels watch has a control character".to_owned());
    }
    if name.is_empty() {
        return Err(format!("the URL has no name of what the sentinels watch; {SENTINEL_FORM}"));
    }
    let (user, password) = (None, None);
    let sentinels = Sentinels { name, targets, user, password };
    Ok((RedisAddress::Watched(sentinels), database(db, SENTINEL_FORM)?))
}

/// `user:password`, `:password` for the default user; a nameless empty password is none.
fn credentials(userinfo: &str) -> Result<(Option<String>, Option<String>), String> {
    let Some((user, password)) = userinfo.split_once(':') else {
        let why = "the URL has no colon before the @; write :password@ for the default user, \
                   user:password@ for another, user:@ for an empty password";
        return Err(why.to_owned());
    };
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    let password = Some(decoded(password)?).filter(|text| user.is_some() || !text.is_empty());
    Ok((user, password))
}

fn tcp_target(authority: &str) -> Result<Target, String> {
    if authority.contains(',') {
        return Err(format!(
            "the URL names several hosts, which only a cluster's and sentinels' do; \
             {CLUSTER_FORM}; several Redis beside each other have a URL each"
        ));
    }
    authority::tcp(authority, DEFAULT_PORT).map_err(|why| format!("{why}; {FORM}"))
}

/// The same address, by TLS.
fn secured(target: Target) -> Target {
    match target {
        Target::Tcp { host, port } => Target::Tls { host, port },
        other => other,
    }
}

fn unix_target(path: &str) -> Result<Target, String> {
    check_escapes(path)?;
    let path = percent_decode_str(path).collect();
    authority::unix(path).map_err(|why| format!("{why}; {FORM}"))
}

fn query_database(query: Option<&str>) -> Result<u32, String> {
    match query.unwrap_or_default() {
        "" => Ok(0),
        query => match query.strip_prefix("db=") {
            Some(number) => database(number, FORM),
            None => Err(format!("the URL's query is something else than db=N; {FORM}")),
        },
    }
}

fn database(number: &str, form: &str) -> Result<u32, String> {
    if number.is_empty() {
        return Ok(0);
    }
    let number = Some(number).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("the URL's database is no number such as 0; {form}"))
}

fn decoded(text: &str) -> Result<String, String> {
    check_escapes(text)?;
    let text = percent_decode_str(text).decode_utf8();
    text.map(|text| text.into_owned())
        .map_err(|_| "the URL's user or password is not UTF-8 after decoding its % escapes".into())
}

/// The decoder lets a stray percent sign pass; in a password it is more likely a mistake.
fn check_escapes(text: &str) -> Result<(), String> {
    let complete = text
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    match complete {
        true => Ok(()),
        false => Err("the URL has a % without two hexadecimal digits; write % as %25".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::PathBuf;

    #[test]
    fn urls_that_make_sense() {
        let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
        let tls = |host: &str, port| Target::Tls { host: host.to_owned(), port };
        let unix = |path: &str| Target::Unix(PathBuf::from(path));
        let cases = [
            ("redis://h", tcp("h", 6379), None, None, 0),
            ("redis://h/", tcp("h", 6379), None, None, 0),
            ("REDIS://h:1/15", tcp("h", 1), None, None, 15),
            ("redis://127.0.0.1:65535", tcp("127.0.0.1", 65535), None, None, 0),
            ("redis://[::1]", tcp("::1", 6379), None, None, 0),
            ("redis://u:p@[::1]:7/3", tcp("::1", 7), Some("u"), Some("p"), 3),
            ("redis://:p@h", tcp("h", 6379), None, Some("p"), 0),
            ("redis://:@h", tcp("h", 6379), None, None, 0),
            ("redis://u:@h", tcp("h", 6379), Some("u"), Some(""), 0),
            ("redis://u:p:q@h", tcp("h", 6379), Some("u"), Some("p:q"), 0),
            ("redis://u:p@q@h", tcp("h", 6379), Some("u"), Some("p@q"), 0),
            ("redis://u%3a:%2F%3f%C3%A9@h", tcp("h", 6379), Some("u:"), Some("/?é"), 0),
            ("valkey://u:p@h:7/2", tcp("h", 7), Some("u"), Some("p"), 2),
            ("Valkey://h", tcp("h", 6379), None, None, 0),
            ("rediss://u:p@h/2", tls("h", 6379), Some("u"), Some("p"), 2),
            ("VALKEYS://[::1]:7", tls("::1", 7), None, None, 0),
            ("redis+unix:///run/r.sock", unix("/run/r.sock"), None, None, 0),
            ("redis+unix:///run/r.sock?db=4", unix("/run/r.sock"), None, None, 4),
            ("unix:///a%20b?db=", unix("/a b"), None, None, 0),
            ("unix://u:p@/s", unix("/s"), Some("u"), Some("p"), 0),
        ];
        for (url, target, user, password, db) in cases {
            let expected = RedisSettings {
                address: RedisAddress::Fixed(target),
                user: user.map(str::to_owned),
                password: password.map(str::to_owned),
                db,
                timeout_ms: 0,
                buffer_limit: 0,
                window: 0,
            };
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn sentinels_are_named_with_what_they_watch() {
        let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
        let tls = |host: &str, port| Target::Tls { host: host.to_owned(), port };
        for (url, targets, name, user, db) in [
            ("redis+sentinel://h/n", vec![tcp("h", 26379)], "n", None, 0),
            (
                "redis+sentinel://u:p@a:1,[::1]/m%20x/3",
                vec![tcp("a", 1), tcp("::1", 26379)],
                "m x",
                Some("u"),
                3,
            ),
            ("Rediss+Sentinel://a,b/n/", vec![tls("a", 26379), tls("b", 26379)], "n", None, 0),
        ] {
            let name = name.to_owned();
            let sentinels = Sentinels { name, targets, user: None, password: None };
            let password = user.map(|_| "p".to_owned());
            let address = RedisAddress::Watched(sentinels);
            let expected = settings(address, user.map(str::to_owned), password, db);
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
        let many: Vec<String> = (0..17).map(|at| format!("h{at}")).collect();
        let why = parse(&format!("redis+sentinel://{}/n", many.join(","))).expect_err("17");
        assert!(why.contains("over 16"), "{why}");
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_nodes() {
        let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
        let tls = |host: &str, port| Target::Tls { host: host.to_owned(), port };
        for (url, seeds, user) in [
            ("redis+cluster://h", vec![tcp("h", 6379)], None),
            ("Valkey+Cluster://u:p@a:1,[::1]/0", vec![tcp("a", 1), tcp("::1", 6379)], Some("u")),
            ("rediss+cluster://a,b:2/", vec![tls("a", 6379), tls("b", 2)], None),
        ] {
            let password = user.map(|_| "p".to_owned());
            let address = RedisAddress::Cluster(Clustered { seeds, form: Sharding::Off });
            assert_eq!(parse(url), Ok(settings(address, user.map(str::to_owned), password, 0)));
        }
        let many: Vec<String> = (0..17).map(|at| format!("h{at}")).collect();
        let why = parse(&format!("redis+cluster://{}", many.join(","))).expect_err("17");
        assert!(why.contains("over 16"), "{why}");
    }

    #[test]
    fn a_text_has_the_urls_that_begin_in_it() {
        for (text, urls) in [
            ("", &[""][..]),
            ("redis://a", &["redis://a"]),
            ("redis://a redis+unix:///b?db=1", &["redis://a", "redis+unix:///b?db=1"]),
            ("redis://:p@a, valkey://b,redis://c", &["redis://:p@a", "valkey://b", "redis://c"]),
            ("redis://a,b:1/c\n redis://d", &["redis://a,b:1/c", "redis://d"]),
            ("redis://:p://x@a", &["redis://:p://x@a"]),
            ("redis://:p q@a", &["redis://:p q@a"]),
            (" redis://a\n", &["redis://a"]),
        ] {
            assert_eq!(each(text).collect::<Vec<_>>(), urls, "{text:?}");
        }
    }

    #[test]
    fn urls_that_make_none_say_why_and_nothing_of_themselves() {
        let cases = [
            ("", "leave it out"),
            ("hush", "no scheme"),
            ("hush:6379", "no scheme"),
            ("http://hush", "none of redis, rediss, redis+unix, redis+sentinel"),
            ("redis+socket:///hush", "none of redis, rediss, redis+unix, redis+sentinel"),
            ("rediss://hush@h", "no colon before the @"),
            ("rediss:///hush", "the host is missing"),
            ("valkeys://h:6380/0?ssl_cert_reqs=hush", "a query, which only redis+unix takes"),
            ("redis:// hush@h", "white space"),
            ("redis://h\nhush", "white space"),
            ("redis://", "host is missing"),
            ("redis:///0", "host is missing"),
            ("redis://u:hush@", "host is missing"),
            ("redis://hush@h", "no colon before the @"),
            ("redis://u:hush/x@h", "/ as %2F"),
            ("redis://u:hush?x@h", "? as %3F"),
            ("redis://u:hush#x@h", "# as %23"),
            ("redis://u:hush%@h", "% as %25"),
            ("redis://u:hush%4@h", "% as %25"),
            ("redis://u:hush%FF@h", "not UTF-8"),
            ("redis://h:0", "the port is 0"),
            ("redis://h:hush", "no number up to 65535"),
            ("redis://::1", "brackets"),
            ("redis://a:1,hush:2", "several hosts, which only a cluster's"),
            ("redis://a,hush", "write redis+cluster://"),
            ("redis-cluster://hush", "write redis+cluster://"),
            ("redis-sentinel://hush/m", "write redis+sentinel://"),
            ("redis+cluster://a, hush", "write redis+cluster://"),
            ("redis://[hush]", "no IPv6 address"),
            ("redis://h/hush", "database"),
            ("redis://h/-1", "database"),
            ("redis://h/0/1", "database"),
            ("redis://h/99999999999", "database"),
            ("redis://h?db=1", "only redis+unix takes"),
            ("redis+unix://hush/s", "must begin with a slash"),
            ("redis+unix://", "begin with a slash"),
            ("redis+unix:///", "names none"),
            ("redis+unix:///hush%00", "names none"),
            ("redis+unix:///s?hush=1", "else than db=N"),
            ("redis+unix:///s?db=x", "database"),
            ("redis+sentinel://h", "no name of what the sentinels watch"),
            ("redis+sentinel://h/", "no name of what the sentinels watch"),
            ("redis+sentinel://u:hush@h,/n", "host is missing"),
            ("redis+sentinel://h,h:26379/n", "a sentinel twice"),
            ("redis+sentinel://h:hush/n", "no number up to 65535"),
            ("redis+sentinel://h/n/hush", "NAME/db"),
            ("redis+sentinel://h/hush%0a", "control character"),
            ("redis+sentinel://h/n?db=1", "only redis+unix takes"),
            ("redis+cluster://h/1", "only database 0"),
            ("redis+cluster://h?db=0", "only redis+unix takes"),
            ("redis+cluster://u:hush@h,h:6379", "a node twice"),
            ("redis+cluster://u:hush@,h", "host is missing"),
        ];
        for (url, words) in cases {
            let why = parse(url).expect_err(url);
            assert!(why.contains(words), "{url}: {why}");
            assert!(!why.contains("hush"), "{url}: {why}");
            assert!(!why.contains('\n'), "{url}: {why}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert!(parse(&long).expect_err("too long").contains("107 bytes"));
        assert!(parse(&long[..long.len() - 1]).is_ok());
    }
}
