//! L4: `wsloop listen`: prints what a WebSocket brings, and comes again when it ends.
//!
//! A server that is away or busy is tried again, after a pause that doubles up to 30 seconds. One
//! that says no is not: asking again would not change the answer.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Failure, json_of, notice, shown};
use crate::client::socket::{End, Random, Socket};
use crate::client::url::Url;
use crate::proto::ws::message::Kind;

/// What to listen to, and how to print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where to connect.
    pub url: Url,
    /// More lines for the request: names and values.
    pub headers: Vec<(String, String)>,
    /// Sub-protocols to offer.
    pub protocols: Vec<String>,
    /// Whether the end of the connection is the end.
    pub once: bool,
    /// Whether messages are printed as JSON.
    pub json: bool,
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lasted this long resets the pauses between attempts.
const STEADY: Duration = Duration::from_secs(10);

/// Listens until the reader of standard output ends, the server refuses or, if that was asked for,
/// the connection ends.
pub(super) fn run(listen: &Listen) -> Result<(), Failure> {
    let random = Random::new();
    let mut random = random.map_err(|error| Failure::failed(format!("no randomness: {error}")))?;
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let end = connection(listen, &mut random);
        if matches!(end, End::OutputClosed) {
            return Ok(());
        }
        let line = end.to_string();
        if listen.once || end.is_final() {
            return if end.is_good() { Ok(()) } else { Err(Failure::failed(line)) };
        }
        if began.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        // Less up to a half by chance, so that all who lost a server do not return together.
        let chance = random.word().map_or(0, |word| word % 50);
        let wait = pause * (100 - chance) / 100;
        notice(&format!("{line}; trying again in {:.1} s", wait.as_secs_f64()));
        std::thread::sleep(wait);
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// One connection, from its beginning to its end.
fn connection(listen: &Listen, random: &mut Random) -> End {
    let mut socket = match Socket::open(&listen.url, &listen.headers, &listen.protocols, random) {
        Ok(socket) => socket,
        Err(end) => return end,
    };
    // Without the query, which may hold a token.
    notice(&format!("connected to ws://{}{}", listen.url.authority, listen.url.path));
    let to_terminal = io::stdout().is_terminal();
    let mut out = BufWriter::new(io::stdout().lock());
    socket.listen(random, |message| match message {
        Some((kind, data)) => out.write_all(&shown(line(kind, data, listen.json), to_terminal)),
        None => out.flush(),
    })
}

/// A message as it is printed.
fn line(kind: Kind, data: &[u8], json: bool) -> Vec<u8> {
    let is_text = kind == Kind::Text;
    let mut line = match (json, is_text) {
        (false, true) => data.to_vec(),
        (false, false) => STANDARD.encode(data).into_bytes(),
        (true, _) => {
            let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let (seconds, ms) = (time.as_secs(), time.subsec_millis());
            format!("{{\"time\":{seconds}.{ms:03},{}}}", json_of(data, is_text)).into_bytes()
        }
    };
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines() {
        let text = |kind, data: &[u8], json| String::from_utf8(line(kind, data, json)).unwrap();
        assert_eq!(text(Kind::Text, "Grüße".as_bytes(), false), "Grüße\n");
        assert_eq!(text(Kind::Binary, b"\0\x12\xaa", false), "ABKq\n");
        assert_eq!(text(Kind::Binary, b"text", false), "dGV4dA==\n");
        let json = text(Kind::Text, b"a\n\"b\"", true);
        let (time, rest) = json.split_once(',').expect("members");
        assert_eq!(rest, "\"kind\":\"text\",\"data\":\"a\\n\\\"b\\\"\"}\n");
        let seconds: f64 = time.trim_start_matches("{\"time\":").parse().expect("a number");
        assert!(seconds > 1.7e9, "{time}");
        assert!(
            text(Kind::Binary, b"text", true)
                .ends_with("\"kind\":\"binary\",\"data\":\"dGV4dA==\"}\n")
        );
    }
}
