//! L4: one value's text to its meaning, or what is wrong with it and how to mend it.
//!
//! The sentences do not name the flag; whoever asked knows it.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use tracing::level_filters::LevelFilter;

use crate::access::channel;
use crate::access::proxies::ForwardedHeaders;
use crate::broker::history;
use crate::browser::settings::{CompressionFor, Refuse};
use crate::link::authority::{self, host_and_port};
use crate::proto::ws::deflate::Compression;

/// 1024 bytes.
pub(crate) const KIB: usize = 1 << 10;
/// 1024 KiB.
pub(crate) const MIB: usize = 1 << 20;
/// 1024 MiB.
pub(crate) const GIB: usize = 1 << 30;

/// A year in milliseconds: longer waits are typing errors.
pub(crate) const LONGEST_MS: u64 = 365 * 24 * 3_600_000;
/// A hundred years in seconds. Redis refuses an expiry whose milliseconds overflow.
pub(crate) const LONGEST_EXPIRE_S: u64 = 100 * 365 * 24 * 3600;
/// The largest number of things that anybody means.
pub(crate) const MOST: usize = 1 << 30;
/// Largest `--unsent-limit`: more than a socket's buffer is by default.
pub(crate) const LARGEST_UNSENT: usize = 16 * MIB;

/// Bytes: a whole number, alone or with k, KiB, M, MiB, G or GiB (powers of 1024, any case).
pub(crate) fn size(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (number, unit) = text.split_at(text.len() - digits.len());
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" => Some(1),
        "k" | "kib" => Some(KIB),
        "m" | "mib" => Some(MIB),
        "g" | "gib" => Some(GIB),
        _ => None,
    };
    if ["kb", "mb", "gb"].contains(&unit.as_str()) && !number.is_empty() {
        let binary = format!("{number}{}iB", unit[..1].to_ascii_uppercase());
        let why = "may mean powers of 1000 or of 1024; write";
        return Err(format!("{} {why} {}, or the bytes in full", quoted(text), quoted(&binary)));
    }
    let Some(factor) = factor.filter(|_| !number.is_empty()) else {
        let why = "is no size in bytes; write it such as 65536, 64KiB, 1MiB or 2GiB";
        return Err(format!("{} {why}", quoted(text)));
    };
    let bytes = number.parse().ok().and_then(|number: usize| number.checked_mul(factor));
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        let (least, most) = (in_units(*range.start()), in_units(*range.end()));
        out_of_range(text, &least, Some(most).filter(|_| *range.end() < usize::MAX), "bytes")
    })
}

/// A size as a person writes it: in the largest unit that leaves no fraction.
pub(crate) fn in_units(bytes: usize) -> String {
    let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Seconds, with a fraction if need be, in milliseconds.
pub(crate) fn seconds(text: &str, range_ms: RangeInclusive<u64>) -> Result<u64, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let Some(number) = text.parse::<f64>().ok().filter(|_| plain) else {
        let why = "is no number of seconds; write one such as 30 or 0.5";
        return Err(format!("{} {why}", quoted(text)));
    };
    // What is more than nothing must not become nothing: 0 means off where it is allowed.
    let ms = (number * 1000.0).round() as u64;
    if (ms == 0 && number > 0.0) || !range_ms.contains(&ms) {
        let least = *range_ms.start() as f64 / 1000.0;
        let most = *range_ms.end() as f64 / 1000.0;
        let least = if least == 0.0 { "0, or 0.001".to_owned() } else { least.to_string() };
        return Err(out_of_range(text, &least, Some(most.to_string()), "seconds"));
    }
    Ok(ms)
}

/// Whole seconds.
pub(crate) fn whole_seconds(text: &str, most: u64) -> Result<u64, String> {
    let Some(digits) = digits(text) else {
        let why = "is no whole number of seconds; write one such as 3600";
        return Err(format!("{} {why}", quoted(text)));
    };
    let seconds = digits.parse().ok().filter(|seconds| *seconds <= most);
    seconds.ok_or_else(|| out_of_range(text, "0", Some(most.to_string()), "seconds"))
}

/// How many.
pub(crate) fn count(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let Some(digits) = digits(text) else {
        return Err(format!("{} is no whole number; write one such as 1000", quoted(text)));
    };
    digits.parse().ok().filter(|count| range.contains(count)).ok_or_else(|| {
        let most = Some(range.end().to_string()).filter(|_| *range.end() < usize::MAX);
        out_of_range(text, &range.start().to_string(), most, "").trim_end().to_owned()
    })
}

/// `on` or `off`, and what else means them.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => Ok(true),
        "off" | "no" | "false" | "0" => Ok(false),
        _ => Err(format!("{} is neither on nor off", quoted(text))),
    }
}

/// A level of the log.
pub(crate) fn level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!("{} is no level; write error, warn, info, debug or trace", quoted(text))),
    }
}

/// What is done about compression.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "off" => Ok(Compression::Off),
        "shared" => Ok(Compression::Shared),
        "dedicated" => Ok(Compression::Dedicated),
        _ => Err(format!("{} is no compression; write off, shared or dedicated", quoted(text))),
    }
}

/// Who is given permessage-deflate.
pub(crate) fn compression_for(text: &str) -> Result<CompressionFor, String> {
    match text {
        "all" => Ok(CompressionFor::All),
        "browsers" => Ok(CompressionFor::Browsers),
        _ => Err(format!("{} is nobody; write all or browsers", quoted(text))),
    }
}

/// How proxies say where requests come from.
pub(crate) fn forwarded_headers(text: &str) -> Result<ForwardedHeaders, String> {
    match text.to_ascii_lowercase().as_str() {
        "x-forwarded" => Ok(ForwardedHeaders::X),
        "forwarded" => Ok(ForwardedHeaders::Rfc7239),
        _ => Err(format!("{} is no kind of header; write x-forwarded or forwarded", quoted(text))),
    }
}

/// How handshakes are refused.
pub(crate) fn refuse(text: &str) -> Result<Refuse, String> {
    match text {
        "status" => Ok(Refuse::Status),
        "close" => Ok(Refuse::Close),
        _ => Err(format!("{} is no way to refuse; write status or close", quoted(text))),
    }
}

/// An address to listen on, or the path of a socket, judged by its form only.
pub(crate) fn listen(text: &str) -> Result<(), String> {
    if is_given(text) {
        return Ok(());
    }
    match (text.strip_prefix(UNIX), text.strip_prefix(HTTPS)) {
        (Some(path), _) => socket_path(text, path),
        (None, Some(address)) => tcp_listen(address),
        (None, None) => tcp_listen(text),
    }
}

/// Whether a socket is meant that systemd gives.
fn is_given(text: &str) -> bool {
    text.strip_prefix("systemd").is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// The path behind `unix:`, or a name that begins with `@` and is no file.
fn socket_path(text: &str, path: &str) -> Result<(), String> {
    let why = |why| format!("{}: {why}; write unix:/run/wsloop/wsloop.sock", quoted(text));
    let is_name = path.strip_prefix('@').is_some_and(|name| !name.is_empty());
    match is_name && path.len() <= authority::LONGEST_SOCKET {
        true => Ok(()),
        false => authority::unix(path.as_bytes().to_vec()).map(drop).map_err(why),
    }
}

/// The mode of a socket's file, in octal as chmod takes it.
pub(crate) fn socket_mode(text: &str) -> Result<u32, String> {
    let is_octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    let why = "is no mode of a file; write it in octal, such as 660 for owner and group";
    mode.ok_or_else(|| format!("{} {why}", quoted(text)))
}

fn tcp_listen(text: &str) -> Result<(), String> {
    let form = "write HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080";
    if text.contains("://") {
        let secure = "or https://HOST:PORT where TLS is to be spoken";
        return Err(format!("{} is a URL; {form}, {secure}", quoted(text)));
    }
    if text.rsplit_once(':').is_some_and(|(host, _)| ["", "*"].contains(&host)) {
        let why = "names no host; write 0.0.0.0:PORT for every interface, 127.0.0.1:PORT for none \
                   but this machine";
        return Err(format!("{} {why}", quoted(text)));
    }
    match host_and_port(text) {
        Ok((_, Some(_))) => Ok(()),
        Ok((_, None)) => Err(format!("{} has no port; {form}", quoted(text))),
        Err(why) => Err(format!("{}: {why}; {form}", quoted(text))),
    }
}

/// What comes before an address at which TLS is spoken.
pub(crate) const HTTPS: &str = "https://";
/// What comes before the path of a socket.
pub(crate) const UNIX: &str = "unix:";

/// An address for Redis clients, which need no password and so may come from this machine alone;
/// `None` is for `off`.
pub(crate) fn resp(text: &str) -> Result<Option<String>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix(UNIX) {
        let why = |why| format!("{}: {why}; write unix:/run/wsloop/resp.sock", quoted(text));
        return authority::unix(path.as_bytes().to_vec())
            .map_err(why)
            .map(|_| Some(text.to_owned()));
    }
    tcp_listen(text).map_err(|why| why.replace(":8080", ":6380"))?;
    if is_loopback(text) {
        return Ok(Some(text.to_owned()));
    }
    let why = "is not loopback, and the embedded broker asks nobody for a password; write \
               127.0.0.1:6380 or off, or use a real Redis (--redis)";
    Err(format!("{} {why}", quoted(text)))
}

/// The address of those who run the server, judged by its form only.
pub(crate) fn admin(text: &str) -> Result<(), String> {
    match text.strip_prefix(UNIX) {
        Some(path) => socket_path(text, path),
        None => tcp_listen(text).map_err(|why| why.replace(":8080", ":9090")),
    }
}

/// Whether an address to listen on is of this machine alone, as far as it says so.
pub(crate) fn is_loopback(address: &str) -> bool {
    let address = address.strip_prefix(HTTPS).unwrap_or(address);
    host_and_port(address).is_ok_and(|(host, _)| {
        let is_loopback = |ip: IpAddr| ip.is_loopback();
        host.parse().is_ok_and(is_loopback) || host.eq_ignore_ascii_case("localhost")
    })
}

/// The path that WebSocket paths begin with.
pub(crate) fn url_prefix(text: &str) -> Result<String, String> {
    if !is_path_text(text) {
        let why = "has characters that no path has; write it such as /ws/";
        return Err(format!("{} {why}", quoted(text)));
    }
    if !text.starts_with('/') || !text.ends_with('/') {
        let mended = format!("/{}/", text.trim_matches('/')).replace("//", "/");
        let why = "must begin and end with a slash; write";
        return Err(format!("{} {why} {}", quoted(text), quoted(&mended)));
    }
    Ok(text.to_owned())
}

/// What Redis names begin with.
pub(crate) fn prefix(text: &str) -> Result<String, String> {
    if text.ends_with(':') {
        let why = "ends with a colon, which is put after it anyway; write";
        let mended = text.trim_end_matches(':');
        return Err(format!("{} {why} {}", quoted(text), quoted(mended)));
    }
    if text.starts_with(history::PREFIX.trim_end_matches(':')) {
        let why = "begins with what names of histories begin with; write another word, such as";
        return Err(format!("{} {why} \"site\"", quoted(text)));
    }
    if !channel::is_prefix(text) {
        let why = "has broadcast, group, user or session between its colons, so that names could \
                   be taken for another server's; write another word, such as";
        return Err(format!("{} {why} \"site\"", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A path of the server's own, such as `example`.
pub(crate) fn own_path(text: &str, example: &str) -> Result<String, String> {
    match text.starts_with('/') && is_path_text(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no path; write one such as {example}", quoted(text))),
    }
}

/// Any text.
pub(crate) fn any(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Names of sub-protocols (RFC 6455 section 4.1: tokens), in the order given; none is a choice too.
pub(crate) fn subprotocols(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match name.bytes().all(is_token_byte) {
            true => Ok(name.to_owned()),
            false => Err(format!(
                "{} is no sub-protocol's name; write such as chat,json, with commas between",
                quoted(name)
            )),
        })
        .collect()
}

/// A text as a message may repeat it: quoted, escaped, no longer than a line, and if it looks like
/// a URL that somebody gave to the wrong flag, without its password.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = without_password(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Cuts out of a line everything from the first `://` (or, when there is none, the first quote) to
/// the last `@`. It hides too much rather than too little: a password may hold any character.
pub(crate) fn without_password(line: &str) -> String {
    let Some(end) = line.rfind('@') else {
        return line.to_owned();
    };
    let before = &line[..end];
    let start = before
        .find("://")
        .map(|at| at + 3)
        .or_else(|| before.find('\'').map(|at| at + 1))
        .unwrap_or(0);
    format!("{}…{}", &line[..start], &line[end..])
}

/// The text without characters that would steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "?")
}

/// The text, if it is nothing but digits (`parse` would take a plus sign).
fn digits(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn out_of_range(text: &str, least: &str, most: Option<String>, unit: &str) -> String {
    match most {
        Some(most) => format!("{} is out of range; give {least} to {most} {unit}", quoted(text)),
        None => format!("{} is out of range; give at least {least} {unit}", quoted(text)),
    }
}

/// Whether a request's path may consist of it: visible ASCII that ends no path.
fn is_path_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\".contains(&byte))
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of the table is read as it says: a value, or words of the complaint.
    #[track_caller]
    fn table<T: std::fmt::Debug + PartialEq>(
        read: impl Fn(&str) -> Result<T, String>,
        cases: &[(&str, Result<T, &str>)],
    ) {
        for (text, expected) in cases {
            match (read(text), expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, *expected, "{text:?}"),
                (Err(why), Err(words)) => assert!(why.contains(words), "{text:?}: {why}"),
                (read, expected) => panic!("{text:?}: {read:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn only_this_machine_s_addresses_are_loopback() {
        for (address, expected) in [
            ("127.0.0.1:80", true),
            ("127.9.9.9:0", true),
            ("[::1]:80", true),
            ("LocalHost:80", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("192.0.2.1:80", false),
            ("shop.example:80", false),
            // A proxy in front of it may be reached from anywhere.
            ("unix:/run/wsloop.sock", false),
        ] {
            assert_eq!(is_loopback(address), expected, "{address}");
        }
    }

    #[test]
    fn sizes() {
        table(
            |text| size(text, 1..=2 * GIB),
            &[
                ("1", Ok(1)),
                ("65536", Ok(65_536)),
                ("64k", Ok(65_536)),
                ("64K", Ok(65_536)),
                ("64KiB", Ok(65_536)),
                ("64 kib", Ok(65_536)),
                ("3M", Ok(3 << 20)),
                ("3MiB", Ok(3 << 20)),
                ("2g", Ok(2 << 30)),
                ("1GiB", Ok(1 << 30)),
                ("0", Err("give 1 to 2GiB bytes")),
                ("3GiB", Err("give 1 to 2GiB bytes")),
                ("99999999999999999999", Err("out of range")),
                ("18014398509481984k", Err("out of range")),
                ("", Err("such as 65536, 64KiB")),
                ("k", Err("no size")),
                ("1.5M", Err("no size")),
                ("-1", Err("no size")),
                ("+1", Err("no size")),
                ("1MB", Err("write \"1MiB\", or the bytes in full")),
                ("10 kb", Err("write \"10KiB\"")),
                ("2Gb", Err("write \"2GiB\"")),
                ("MB", Err("no size")),
                ("1TB", Err("no size")),
                ("1k1", Err("no size")),
            ],
        );
        table(|text| size(text, 1..=usize::MAX), &[("0", Err("give at least 1 bytes"))]);
    }

    #[test]
    fn sizes_in_units() {
        let cases = [(0, "0"), (1023, "1023"), (1024, "1KiB"), (1025, "1025"), (3 * MIB, "3MiB")];
        for (bytes, text) in cases {
            assert_eq!(in_units(bytes), text);
        }
    }

    #[test]
    fn times() {
        table(
            |text| seconds(text, 1..=60_000),
            &[
                ("1", Ok(1000)),
                ("0.001", Ok(1)),
                ("1.5", Ok(1500)),
                (".25", Ok(250)),
                ("60", Ok(60_000)),
                ("0", Err("give 0.001 to 60 seconds")),
                ("0.0001", Err("give 0.001 to 60 seconds")),
                ("60.001", Err("give 0.001 to 60 seconds")),
                ("999999999999999999999999999999", Err("out of range")),
                ("", Err("such as 30 or 0.5")),
                (".", Err("no number")),
                ("1.2.3", Err("no number")),
                ("1e3", Err("no number")),
                ("inf", Err("no number")),
                ("NaN", Err("no number")),
                ("-1", Err("no number")),
                ("30s", Err("no number")),
            ],
        );
        table(
            |text| seconds(text, 0..=1000),
            &[("0", Ok(0)), ("0.0001", Err("give 0, or 0.001 to 1 seconds"))],
        );
        table(
            |text| whole_seconds(text, 10),
            &[
                ("0", Ok(0)),
                ("10", Ok(10)),
                ("11", Err("give 0 to 10 seconds")),
                ("1.5", Err("such as 3600")),
                ("", Err("no whole number")),
                ("+1", Err("no whole number")),
            ],
        );
    }

    #[test]
    fn counts_and_words() {
        table(
            |text| count(text, 1..=9),
            &[
                ("1", Ok(1)),
                ("9", Ok(9)),
                ("0", Err("give 1 to 9")),
                ("10", Err("give 1 to 9")),
                ("1k", Err("such as 1000")),
            ],
        );
        table(
            on_off,
            &[
                ("on", Ok(true)),
                ("True", Ok(true)),
                ("no", Ok(false)),
                ("0", Ok(false)),
                ("maybe", Err("neither on nor off")),
            ],
        );
        table(
            level,
            &[
                ("error", Ok(LevelFilter::ERROR)),
                ("WARN", Ok(LevelFilter::WARN)),
                ("trace", Ok(LevelFilter::TRACE)),
                ("loud", Err("error, warn, info, debug or trace")),
            ],
        );
        table(
            compression_for,
            &[
                ("all", Ok(CompressionFor::All)),
                ("browsers", Ok(CompressionFor::Browsers)),
                ("Browsers", Err("all or browsers")),
            ],
        );
        table(
            refuse,
            &[
                ("status", Ok(Refuse::Status)),
                ("close", Ok(Refuse::Close)),
                ("drop", Err("status or close")),
            ],
        );
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        table(
            subprotocols,
            &[
                ("", Ok(names(&[]))),
                ("a", Ok(names(&["a"]))),
                ("b, a,", Ok(names(&["b", "a"]))),
                ("a b", Err("with commas between")),
            ],
        );
    }

    #[test]
    fn addresses() {
        table(
            listen,
            &[
                ("127.0.0.1:8080", Ok(())),
                ("localhost:0", Ok(())),
                ("my_host-1.example:65535", Ok(())),
                ("[::1]:80", Ok(())),
                ("", Err("the host is missing; write HOST:PORT")),
                ("8080", Err("write HOST:PORT")),
                (":8080", Err("0.0.0.0:PORT for every interface")),
                ("*:8080", Err("0.0.0.0:PORT for every interface")),
                ("http://localhost:80", Err("is a URL; write HOST:PORT")),
                ("localhost", Err("has no port")),
                ("localhost:", Err("no number up to 65535")),
                ("localhost:+1", Err("no number up to 65535")),
                ("localhost:65536", Err("no number up to 65535")),
                ("::1:80", Err("goes into brackets")),
                ("[::1", Err("not closed")),
                ("[::1]", Err("has no port")),
                ("[::1]80", Err("a colon must follow")),
                ("[localhost]:80", Err("no IPv6 address")),
                ("300.0.0.1:80", Err("no IPv4 address")),
                ("a b:80", Err("that no name has")),
            ],
        );
    }

    #[test]
    fn paths_and_prefixes() {
        let ok = |text: &str| Ok(text.to_owned());
        table(
            url_prefix,
            &[
                ("/", ok("/")),
                ("/ws/", ok("/ws/")),
                ("/a/b/", ok("/a/b/")),
                ("", Err("write \"/\"")),
                ("ws", Err("write \"/ws/\"")),
                ("/ws", Err("write \"/ws/\"")),
                ("/w s/", Err("that no path has")),
                ("/ws/?a/", Err("that no path has")),
            ],
        );
        table(
            prefix,
            &[
                ("", ok("")),
                ("a:b", ok("a:b")),
                ("users", ok("users")),
                ("a::", Err("write \"a\"")),
                (":", Err("\"\"")),
                ("broadcast", Err("taken for another server's")),
                ("a:user:b", Err("such as \"site\"")),
            ],
        );
        table(
            |text| own_path(text, "/metrics"),
            &[
                ("/metrics", ok("/metrics")),
                ("metrics", Err("such as /metrics")),
                ("", Err("such as /metrics")),
                ("/m?a", Err("such as /metrics")),
            ],
        );
    }

    #[test]
    fn what_is_quoted_is_short_and_hides_passwords() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(quoted(&"é".repeat(61)), format!("\"{}\"…", "é".repeat(60)));
        assert_eq!(quoted("redis://:pw@x@h"), "\"redis://…@h\"");
        assert_eq!(quoted("u:pw@h"), "\"…@h\"");
        assert_eq!(without_password("found 'u:p'w@h' here"), "found '…@h' here");
        assert_eq!(without_password("nothing"), "nothing");
    }
}
