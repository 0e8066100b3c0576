//! L3: the TLS of one link: records in, bytes out, and the other way.
//!
//! It knows no socket and no link. Its rules:
//! * all bytes of all records that have come whole are handed out at once, so that nothing that
//!   could be read ever waits in here; what has come of a record in part is all that is kept;
//! * no more is encrypted than one write takes: what the kernel refuses of it is all that waits;
//! * a session that has failed has said its alert, and takes and gives nothing from there on;
//! * idle, it owns nothing but its keys.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};

use super::records;

/// Most bytes of a handshake, or of one record, that may have come in part: a record takes 16 KiB,
/// and what encryption adds to it.
const MOST_KEPT: usize = 18 << 10;
/// The same of a server that was dialed, whose certificates take more.
const MOST_KEPT_OF_SERVERS: usize = 64 << 10;
/// Records without content that a peer may send: new keys, above all. Each costs as much as many
/// with content.
const MOST_EMPTY: u32 = 64;
/// Bytes of content that earn a peer one more of those.
const EARNS_EMPTY: usize = 16 << 10;

/// One link's TLS.
pub(super) struct Session {
    side: Side,
    /// What has come of a record in part, or of a message of the handshake.
    kept: Vec<u8>,
    /// What is encrypted and was not sent.
    pub sealed: Vec<u8>,
    /// Records without content that the peer may still send.
    empty_left: u32,
    /// The handshake is done.
    pub done: bool,
    /// The peer has said that nothing more comes.
    pub ended: bool,
    /// Why it has failed.
    pub fault: Option<String>,
}

/// Whose session it is.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// One side's way of going through records.
trait Records {
    type Data;
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn has_more_to_say(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
    fn has_more_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
    fn has_more_to_say(&self) -> bool {
        self.wants_write()
    }
}

/// What has come.
pub(super) struct Opened {
    /// Bytes of content.
    pub content: usize,
    /// Records that they were in.
    pub records: u32,
}

/// What came of going through records.
#[derive(Default)]
struct Gone {
    /// Bytes of records that are done with.
    used: usize,
    /// Bytes that were in them.
    content: usize,
    /// Records that had any.
    filled: u32,
    ended: bool,
    fault: Option<String>,
}

impl Session {
    pub(super) fn server(connection: UnbufferedServerConnection) -> Session {
        Session::of(Side::Server(connection))
    }

    pub(super) fn client(connection: UnbufferedClientConnection) -> Session {
        Session::of(Side::Client(connection))
    }

    fn of(side: Side) -> Session {
        Session {
            side,
            kept: Vec::new(),
            sealed: Vec::new(),
            empty_left: MOST_EMPTY,
            done: false,
            ended: false,
            fault: None,
        }
    }

    /// Whether it is with a server that was dialed.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.side, Side::Client(_))
    }

    /// Bytes of memory that it has for what is incomplete or not sent.
    pub(super) fn held(&self) -> usize {
        self.kept.capacity() + self.sealed.capacity()
    }

    /// Bytes that were kept, which go before those that are read next.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Takes what has come: `arrived` bytes in `room`, behind as many as were kept. What is in
    /// them goes into `content`, which is as large as the room, and what the session has to say
    /// itself into `sealed`.
    pub(super) fn open(&mut self, room: &mut [u8], arrived: usize, content: &mut [u8]) -> Opened {
        let kept = std::mem::take(&mut self.kept);
        room[..kept.len()].copy_from_slice(&kept);
        let came = &mut room[..kept.len() + arrived];
        let was_done = self.done;
        let gone = match &mut self.side {
            Side::Server(connection) => go_through(connection, came, content, &mut self.sealed),
            Side::Client(connection) => go_through(connection, came, content, &mut self.sealed),
        };
        let (is_shaking, most) = match &self.side {
            Side::Server(connection) => (connection.is_handshaking(), MOST_KEPT),
            Side::Client(connection) => (connection.is_handshaking(), MOST_KEPT_OF_SERVERS),
        };
        self.done = !is_shaking;
        self.ended |= gone.ended;
        self.fault = gone.fault;
        let records = records::count(&came[..gone.used]);
        if was_done {
            self.count_empty(records.saturating_sub(gone.filled), gone.content);
        }
        let rest = &came[gone.used..];
        if rest.len() > most && !self.ended {
            self.fail("the peer's handshake is too large");
        }
        if self.fault.is_none() && !self.ended {
            self.kept = rest.to_vec();
        }
        Opened { content: gone.content, records }
    }

    /// Encrypts these bytes into `room`, and says how many of it are to be sent, behind what is in
    /// `sealed`.
    pub(super) fn seal(&mut self, content: &[u8], room: &mut [u8]) -> Result<usize, String> {
        self.put(Some(content), room)
    }

    /// The same for the notice that nothing more comes.
    pub(super) fn close(&mut self, room: &mut [u8]) -> Result<usize, String> {
        self.put(None, room)
    }

    fn put(&mut self, content: Option<&[u8]>, room: &mut [u8]) -> Result<usize, String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let put = match &mut self.side {
            Side::Server(connection) => put(connection, &mut self.kept, content, room),
            Side::Client(connection) => put(connection, &mut self.kept, content, room),
        };
        put.inspect_err(|why| self.fail(why))
    }

    /// Counts records without content, of which there may be few.
    fn count_empty(&mut self, records: u32, content: usize) {
        let earned = u32::try_from(content / EARNS_EMPTY).unwrap_or(MOST_EMPTY);
        let left = self.empty_left.saturating_add(earned).min(MOST_EMPTY);
        match left.checked_sub(records) {
            Some(left) => self.empty_left = left,
            None => self.fail("the peer sends nothing but new keys, or empty records"),
        }
    }

    fn fail(&mut self, why: &str) {
        self.fault.get_or_insert_with(|| why.to_owned());
    }
}

/// Goes through all records that have come whole. What they say is put into `content`, and what is
/// to be answered into `sealed`.
fn go_through<R: Records>(
    connection: &mut R,
    records: &mut [u8],
    content: &mut [u8],
    sealed: &mut Vec<u8>,
) -> Gone {
    let mut gone = Gone::default();
    loop {
        let UnbufferedStatus { discard, state } = connection.process(&mut records[gone.used..]);
        let is_over = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            let end = gone.content + record.payload.len();
                            content[gone.content..end].copy_from_slice(record.payload);
                            gone.content = end;
                            gone.filled += u32::from(!record.payload.is_empty());
                        }
                        Err(error) => gone.fault = Some(error.to_string()),
                    }
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, sealed);
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                gone.ended = true;
                false
            }
            Ok(_) => true,
            Err(error) => {
                gone.fault = Some(error.to_string());
                false
            }
        };
        gone.used += discard;
        // Behind a fault comes its alert, and records are not looked at again.
        if is_over || gone.fault.is_some() && !connection.has_more_to_say() {
            return gone;
        }
    }
}

/// Appends what the connection has encoded.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, sealed: &mut Vec<u8>) {
    let before = sealed.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        sealed.resize(before + size.required_size, 0);
        let encoded = data.encode(&mut sealed[before..]).unwrap_or(0);
        sealed.truncate(before + encoded);
    }
}

/// Encrypts content into `room`, or the notice that there is no more. What was kept is shown once
/// more, as the connection has seen a part of it.
fn put<R: Records>(
    connection: &mut R,
    kept: &mut [u8],
    content: Option<&[u8]>,
    room: &mut [u8],
) -> Result<usize, String> {
    let put = match connection.process(kept).state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match content {
            Some(content) => traffic.encrypt(content, room),
            None => traffic.queue_close_notify(room),
        },
        Ok(other) => return Err(format!("the session cannot be written to: {other:?}")),
        Err(error) => return Err(error.to_string()),
    };
    put.map_err(|error| error.to_string())
}
