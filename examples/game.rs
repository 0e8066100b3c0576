//! Everybody is a dot that goes where its player points, and sees all dots, thirty times a second.
//! Who reads more slowly sees the latest, and nothing that was overtaken.
//! Usage: `game [ADDRESS]`, `127.0.0.1:8080` without.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wsloop::{AreaError, AreaKind, ConnId, Endpoint, Message, Page, Settings, SharedArea};
use wsloop::{SocketEvent, Sockets, SocketsError};

const TICK: Duration = Duration::from_millis(33);
/// How far a dot goes in a tick, of a field that is 1000 wide and high.
const STEP: i32 = 12;
const AREA: usize = 16 << 10;

/// Where a dot is, and where it goes.
#[derive(Default)]
struct Dot {
    at: [i32; 2],
    to: [i32; 2],
}

fn main() -> Result<(), SocketsError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    println!("see http://{address}/");
    serve(bind(address)?)
}

/// The page and its script, and one endpoint.
pub fn bind(address: String) -> Result<Sockets, SocketsError> {
    let pages = vec![
        Page::html("/", include_str!("page/game.html")),
        Page::script("/game.js", include_str!("page/game.js")),
    ];
    let settings = Settings { pages, ..Settings::without_relay() };
    Sockets::serve(&[address], settings, Endpoint::default())
}

/// Plays, until the end is asked for.
pub fn serve(mut sockets: Sockets) -> Result<(), SocketsError> {
    let area = SharedArea::new(AREA);
    let mut dots: HashMap<ConnId, Dot> = HashMap::new();
    let mut next = Instant::now() + TICK;
    loop {
        match sockets.recv_timeout(next.saturating_duration_since(Instant::now()))? {
            Some(SocketEvent::Opened { conn, .. }) => {
                dots.insert(conn, Dot::default());
                sockets.follow(conn, &area, AreaKind::Text).expect("it is in memory");
            }
            Some(SocketEvent::Closed { conn, .. }) => drop(dots.remove(&conn)),
            Some(SocketEvent::Message { conn, message: Message::Text(text) }) => {
                if let (Some(dot), Some(to)) = (dots.get_mut(&conn), place(&text)) {
                    dot.to = to;
                }
            }
            Some(_) => {}
            None => {
                dots.values_mut().for_each(step);
                show(&area, &dots).expect("there is room");
                next += TICK;
            }
        }
    }
}

/// Reads two numbers, as `120 750`.
fn place(text: &str) -> Option<[i32; 2]> {
    let (x, y) = text.split_once(' ')?;
    Some([x, y].map(|number| number.parse::<i32>().unwrap_or(0).clamp(0, 1000)))
}

fn step(dot: &mut Dot) {
    for (at, to) in dot.at.iter_mut().zip(dot.to) {
        *at += (to - *at).clamp(-STEP, STEP);
    }
}

/// Writes where all are, as `[[120,750],[3,4]]`, as many as there is room for.
fn show(area: &SharedArea, dots: &HashMap<ConnId, Dot>) -> Result<(), AreaError> {
    let places = dots.values().take(AREA / 16).map(|Dot { at: [x, y], .. }| format!("[{x},{y}]"));
    let mut text = format!("[{}]", places.collect::<Vec<_>>().join(","));
    // What was longer before is not to be seen behind it.
    text.extend(std::iter::repeat_n('\0', AREA - text.len()));
    area.write(0, text.as_bytes())
}
