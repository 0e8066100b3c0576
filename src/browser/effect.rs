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
    /// Ask it about a topic, for that command.
    AskAboutTopic {
        /// The command's number.
        command: u64,
        /// The question.
        question: Vec<u8>,
    },
    /// Publish this, for that command.
    Say {
        /// The command's number.
        command: u64,
        /// Where.
        channels: Vec<String>,
        /// The message.
        payload: Vec<u8>,
    },
    /// Note who the conn belongs to besides the owners of what it hears.
    Own(BTreeSet<String>),
    /// Subscribe it to what it was granted, when the broker is up.
    Join,
    /// Go on with the bytes that it has kept.
    GoOn,
    /// Let it hear a channel, with positions.
    Hear(Hear),
    /// Let it hear a channel no more.
    Unhear {
        /// The number of the wish to hear it, while that is not fulfilled; else 0.
        number: u64,
        /// The channel's name.
        channel: String,
    },
    /// Ask for its wish again.
    Resume,
    /// All that waited for it is sent, and more is to come.
    Drained,
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

/// A wish of a conn to hear a channel, with positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hear {
    /// What the conn knows the wish by.
    pub number: u64,
    /// The channel's name.
    pub channel: String,
    /// The position behind which it goes on, as the client has it.
    pub since: Option<String>,
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
    /// The questions about its topics that are not answered.
    pub questions: Vec<u64>,
}

/// Who is asked about a conn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The broker, for a session that is stored there.
    Session,
    /// The application, by the number of the question; 0 until it has one.
    Application(u64),
}

/// What a browser said that is not its own affair alone.
#[derive(Debug)]
pub(crate) enum Said<'a> {
    /// A message to be published.
    Message(std::borrow::Cow<'a, [u8]>),
}
