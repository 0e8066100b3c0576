//! L2: what a conn wants of others, as values that the server routes.

use std::collections::BTreeSet;

use super::deciding::Released;
use crate::access::crowds::Network;
use crate::web::admin::Inspect;
use crate::web::upstream::Forwarded;

/// Something that a conn wants of another party.
#[derive(Debug)]
pub enum Effect {
    /// Note where it comes from, which is not there: its proxy has said so.
    Moved(Network),
    /// Answer this about the server.
    Inspect(Inspect),
    /// Have an upstream answer its request, which takes its link over for that time.
    Forward(Box<Forwarded>),
    /// Ask the broker for what is stored under this name: the session of who asks.
    AskSession(String),
    /// Ask the application this.
    AskApplication(Vec<u8>),
    /// Note who the conn belongs to besides the owners of what it hears.
    Own(BTreeSet<String>),
    /// Subscribe it to what it was granted, when the broker is up.
    Join,
    /// Go on with the bytes that it has kept.
    GoOn,
    /// Ask for its wish again.
    Resume,
    /// Publish its message, when the broker is up.
    Publish,
    /// Its request is answered, and it may ask for more: these bytes, to begin with.
    Rested(Vec<u8>),
    /// Let the answer to its close go out when the broker has answered what it published.
    Settle,
    /// It begins to close: nothing more is for it.
    Left(Left),
    /// All that waited for it is sent, and it may still send: shut the writing side.
    Finish,
    /// Close its link.
    Drop,
}

/// What a conn that begins to close leaves behind.
#[derive(Debug, Default)]
pub struct Left {
    /// Who was asked about it.
    pub asked: Option<Source>,
    /// Where it came from, if its request was not whole.
    pub stranger: Option<Network>,
    /// What the application is to be told of its end.
    pub(crate) released: Option<Box<Released>>,
}

/// Who is asked about a conn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The broker, for a session that is stored there.
    Session,
    /// The application, by the number of the question; 0 until it has one.
    Application(u64),
}

/// What became of a message that came by plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// The broker has it.
    Taken,
    /// The broker does not want it.
    Refused,
    /// The broker went away before it said so.
    Unknown,
    /// It cannot wait for the broker, for which too much waits already.
    Full,
}

/// What a browser said that is not its own affair alone.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// A message to be published.
    Message(std::borrow::Cow<'a, [u8]>),
}
