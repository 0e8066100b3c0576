//! L3: shared areas: bytes of which conns are sent the latest, as those of a game or of a camera.
//!
//! An area is in this process, or a file that one process writes and others read. Its rules:
//! * everything is checked against the size, which never changes;
//! * whoever reads sees a write as a whole or not at all: in this process by a lock, in a file by a
//!   sequence number, which is odd while it is written to;
//! * a file is read, not mapped: one that is cut short is an error, and no signal;
//! * whoever follows an area is sent its latest content; what was overtaken is skipped.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::shared::{Orders, locked};

/// The sequence number of a file stands before its content.
const HEADER: u64 = 8;
/// How often a file is looked at that is followed, if nothing else is said.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(16);
/// Reads that met a write before it is given up, and the time between two: some tenths of a second,
/// as whoever writes may not be at work all the time.
const READS: u32 = 2000;
const PAUSE: Duration = Duration::from_micros(100);

/// Bytes of a fixed size that several threads, or several processes, share. A clone is the same
/// area.
///
/// Numbers are little-endian. A file begins with a sequence number of 8 bytes, little-endian, which
/// is odd while what follows is written to; who writes it in another language adds one before and
/// one behind each write. A file has one writer.
#[derive(Clone, Debug)]
pub struct SharedArea(Arc<Area>);

#[derive(Debug)]
struct Area {
    number: u32,
    size: usize,
    place: Place,
    /// How often it was written to, as far as is known here.
    version: AtomicU64,
    followed: Mutex<Vec<Followed>>,
}

#[derive(Debug)]
enum Place {
    Memory(Mutex<Box<[u8]>>),
    /// A file that is written here, and what is in it.
    Written(Mutex<(File, Box<[u8]>)>),
    /// A file that another process writes, how often it is looked at, and what was seen last of it
    /// and of its version: the loop reads no file.
    Read(File, Duration, Mutex<(Vec<u8>, u64)>),
}

/// A loop whose conns follow an area.
#[derive(Debug)]
struct Followed {
    orders: Weak<Orders>,
    seen: Arc<Seen>,
}

/// What a loop has seen of an area.
#[derive(Debug, Default)]
struct Seen {
    /// It knows that there is something new, and has not looked.
    knows: AtomicBool,
    /// The version that it saw last.
    version: AtomicU64,
}

/// Why something could not be done to a shared area.
#[derive(Debug)]
pub enum AreaError {
    /// It is beyond the end.
    Range {
        /// Where it would have ended.
        end: usize,
        /// How long the area is.
        size: usize,
    },
    /// Another process writes the file.
    ReadOnly,
    /// The file is being written to all the time, or whoever wrote it has died in the midst of it.
    Busy,
    /// The system refused; a file that is shorter than it was is an `UnexpectedEof`.
    File(io::Error),
}

/// A number of a fixed size that can be in an area.
pub trait AreaNumber: Copy + sealed::Number {}

mod sealed {
    /// How a number is read and written.
    pub trait Number: Sized {
        const SIZE: usize;
        fn read(bytes: &[u8]) -> Self;
        fn write(self, bytes: &mut [u8]);
        fn plus(self, other: Self) -> Self;
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl sealed::Number for $number {
            const SIZE: usize = size_of::<$number>();
            fn read(bytes: &[u8]) -> Self {
                <$number>::from_le_bytes(bytes.try_into().expect("it has that size"))
            }
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
        impl AreaNumber for $number {}
    )*};
}
numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl SharedArea {
    /// An area of this process, of so many bytes, all 0.
    pub fn new(size: usize) -> SharedArea {
        SharedArea::at(size, Place::Memory(Mutex::new(vec![0; size].into())))
    }

    /// An area in a file that is made anew, of so many bytes besides its sequence number, for other
    /// processes to [open](SharedArea::open).
    ///
    /// # Errors
    ///
    /// [`AreaError::File`].
    pub fn create(path: impl AsRef<Path>, size: usize) -> Result<SharedArea, AreaError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.map_err(AreaError::File)?;
        file.set_len(HEADER + size as u64).map_err(AreaError::File)?;
        let written = (file, vec![0; size].into());
        Ok(SharedArea::at(size, Place::Written(Mutex::new(written))))
    }

    /// An area in a file that another process writes. While conns follow it, it is looked at every
    /// 16 ms.
    ///
    /// # Errors
    ///
    /// [`AreaError::File`], also for a file that is too short to be an area.
    pub fn open(path: impl AsRef<Path>) -> Result<SharedArea, AreaError> {
        SharedArea::open_with(path, FOLLOW_INTERVAL)
    }

    /// The same, with another interval, of at least 1 ms.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArea::open`].
    pub fn open_with(
        path: impl AsRef<Path>,
        follow_interval: Duration,
    ) -> Result<SharedArea, AreaError> {
        let file = File::open(path).map_err(AreaError::File)?;
        let length = file.metadata().map_err(AreaError::File)?.len();
        let size = length.checked_sub(HEADER).and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or(AreaError::File(ErrorKind::UnexpectedEof.into()))?;
        let interval = follow_interval.max(Duration::from_millis(1));
        Ok(SharedArea::at(size, Place::Read(file, interval, Mutex::default())))
    }

    /// Bytes of the area.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How often it was written to. When it has changed, so has the content, or may have.
    ///
    /// # Errors
    ///
    /// [`AreaError::File`].
    pub fn version(&self) -> Result<u64, AreaError> {
        match &self.0.place {
            Place::Read(file, ..) => Ok(sequence(file)? / 2),
            _ => Ok(self.0.version.load(Ordering::SeqCst)),
        }
    }

    /// Reads these bytes.
    ///
    /// # Errors
    ///
    /// [`AreaError::Range`] beyond the end; for a file also [`AreaError::File`], and
    /// [`AreaError::Busy`] where another process writes it.
    pub fn read(&self, range: Range<usize>) -> Result<Vec<u8>, AreaError> {
        self.check(range.end.max(range.start))?;
        match &self.0.place {
            Place::Memory(bytes) => {
                Ok(locked(bytes).get(range).map(<[u8]>::to_vec).unwrap_or_default())
            }
            Place::Written(written) => {
                Ok(locked(written).1.get(range).map(<[u8]>::to_vec).unwrap_or_default())
            }
            Place::Read(file, ..) => read_whole(file, &range).map(|(bytes, _)| bytes),
        }
    }

    /// Writes these bytes from that place on.
    ///
    /// # Errors
    ///
    /// [`AreaError::Range`] beyond the end, [`AreaError::ReadOnly`] where another process writes,
    /// and [`AreaError::File`].
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), AreaError> {
        self.check(at.saturating_add(bytes.len()))?;
        self.change(at, bytes.len(), |place| place.copy_from_slice(bytes)).map(|_| ())
    }

    /// The number at that place.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArea::read`].
    pub fn get<N: AreaNumber>(&self, at: usize) -> Result<N, AreaError> {
        let end = at.saturating_add(N::SIZE);
        self.check(end)?;
        self.read(at..end).map(|bytes| N::read(&bytes))
    }

    /// Puts a number there.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArea::write`].
    pub fn set<N: AreaNumber>(&self, at: usize, number: N) -> Result<(), AreaError> {
        self.check(at.saturating_add(N::SIZE))?;
        self.change(at, N::SIZE, |place| number.write(place)).map(|_| ())
    }

    /// Adds to the number there, whoever else does, and returns the sum; it wraps around.
    ///
    /// # Errors
    ///
    /// Those of [`SharedArea::write`].
    pub fn add<N: AreaNumber>(&self, at: usize, number: N) -> Result<N, AreaError> {
        self.check(at.saturating_add(N::SIZE))?;
        let sum = self.change(at, N::SIZE, |place| N::read(place).plus(number).write(place))?;
        Ok(N::read(&sum))
    }

    /// All of it, and which version that is.
    fn whole(&self) -> Result<(Vec<u8>, u64), AreaError> {
        let version = || self.0.version.load(Ordering::SeqCst);
        match &self.0.place {
            Place::Memory(bytes) => {
                let bytes = locked(bytes);
                Ok((bytes.to_vec(), version()))
            }
            Place::Written(written) => {
                let written = locked(written);
                Ok((written.1.to_vec(), version()))
            }
            Place::Read(.., seen) => Ok(locked(seen).clone()),
        }
    }

    /// Tells areas apart.
    pub(super) fn number(&self) -> u32 {
        self.0.number
    }

    /// Has a loop know whenever there is something new.
    pub(super) fn follow(&self, orders: &Arc<Orders>) -> Result<(), AreaError> {
        let mut followed = locked(&self.0.followed);
        followed.retain(|one| one.orders.strong_count() > 0);
        let is_it = |one: &Followed| one.orders.as_ptr() == Arc::as_ptr(orders);
        if followed.iter().any(is_it) {
            return Ok(());
        }
        let is_first = followed.is_empty();
        let orders = Arc::downgrade(orders);
        followed.push(Followed { orders, seen: Arc::default() });
        drop(followed);
        match &self.0.place {
            Place::Read(_, interval, _) if is_first => {
                self.0.version.store(self.version()?, Ordering::SeqCst);
                look_again_and_again(&self.0, *interval).map_err(AreaError::File)
            }
            _ => Ok(()),
        }
    }

    fn at(size: usize, place: Place) -> SharedArea {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (version, followed) = (AtomicU64::new(0), Mutex::default());
        SharedArea(Arc::new(Area { number, size, place, version, followed }))
    }

    fn check(&self, end: usize) -> Result<(), AreaError> {
        let size = self.0.size;
        if end <= size { Ok(()) } else { Err(AreaError::Range { end, size }) }
    }

    /// Changes bytes that are there, and returns what they are then.
    fn change(
        &self,
        at: usize,
        length: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<Vec<u8>, AreaError> {
        let changed = match &self.0.place {
            Place::Memory(bytes) => {
                let mut bytes = locked(bytes);
                let place = &mut bytes[at..at + length];
                change(place);
                self.0.version.fetch_add(1, Ordering::SeqCst);
                place.to_vec()
            }
            Place::Written(written) => {
                let mut written = locked(written);
                let (file, bytes) = &mut *written;
                let mut place = bytes[at..at + length].to_vec();
                change(&mut place);
                let sequence = self.0.version.load(Ordering::SeqCst) * 2;
                let write = |bytes: &[u8], at| file.write_all_at(bytes, at);
                write(&(sequence + 1).to_le_bytes(), 0)
                    .and_then(|()| write(&place, HEADER + at as u64))
                    .and_then(|()| write(&(sequence + 2).to_le_bytes(), 0))
                    .map_err(AreaError::File)?;
                bytes[at..at + length].copy_from_slice(&place);
                self.0.version.fetch_add(1, Ordering::SeqCst);
                place
            }
            Place::Read(..) => return Err(AreaError::ReadOnly),
        };
        self.tell();
        Ok(changed)
    }

    /// The version of which followers were told.
    pub(super) fn known_version(&self) -> u64 {
        self.0.version.load(Ordering::SeqCst)
    }

    /// There is something new.
    pub(super) fn tell(&self) {
        let followed = self.0.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for Followed { orders, seen } in followed.iter() {
            let is_news = |_: &Arc<Orders>| !seen.knows.swap(true, Ordering::SeqCst);
            if let Some(orders) = orders.upgrade().filter(is_news) {
                orders.note_changed(Changed { area: self.clone(), seen: seen.clone() });
            }
        }
    }
}

/// An area in which there is something new.
#[derive(Debug)]
pub(super) struct Changed {
    area: SharedArea,
    seen: Arc<Seen>,
}

impl Changed {
    /// Its number and all of it, as it is now; nothing if that was seen before.
    pub(super) fn latest(self) -> Result<Option<(u32, Vec<u8>)>, AreaError> {
        // What is written from here on is new again.
        self.seen.knows.store(false, Ordering::SeqCst);
        let (content, version) = self.area.whole()?;
        let before = self.seen.version.swap(version, Ordering::SeqCst);
        Ok((before != version).then_some((self.area.number(), content)))
    }
}

/// Looks at a file as long as somebody follows it.
fn look_again_and_again(area: &Arc<Area>, interval: Duration) -> io::Result<()> {
    let area = Arc::downgrade(area);
    let look = move || {
        while let Some(area) = area.upgrade().map(SharedArea) {
            let known = area.0.version.load(Ordering::SeqCst);
            if area.version().is_ok_and(|version| version != known)
                && let Place::Read(file, _, seen) = &area.0.place
                && let Ok((bytes, sequence)) = read_whole(file, &(0..area.0.size))
            {
                *locked(seen) = (bytes, sequence / 2);
                area.0.version.store(sequence / 2, Ordering::SeqCst);
                area.tell();
            }
            drop(area);
            thread::sleep(interval);
        }
    };
    thread::Builder::new().name("shared area".to_owned()).spawn(look).map(|_| ())
}

/// The sequence number of a file.
fn sequence(file: &File) -> Result<u64, AreaError> {
    let mut bytes = [0; HEADER as usize];
    file.read_exact_at(&mut bytes, 0).map_err(AreaError::File)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_at(file: &File, range: &Range<usize>) -> Result<Vec<u8>, AreaError> {
    let mut bytes = vec![0; range.len()];
    let read = file.read_exact_at(&mut bytes, HEADER + range.start as u64);
    read.map(|()| bytes).map_err(AreaError::File)
}

/// Reads of a file that may be written to meanwhile.
fn read_whole(file: &File, range: &Range<usize>) -> Result<(Vec<u8>, u64), AreaError> {
    for _ in 0..READS {
        let before = sequence(file)?;
        if before % 2 == 0 {
            let bytes = read_at(file, range)?;
            if sequence(file)? == before {
                return Ok((bytes, before));
            }
        }
        thread::sleep(PAUSE);
    }
    Err(AreaError::Busy)
}

impl fmt::Display for AreaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AreaError::Range { end, size } => {
                write!(f, "byte {end} is beyond the end of an area of {size} bytes")
            }
            AreaError::ReadOnly => f.write_str("another process writes this area"),
            AreaError::Busy => f.write_str("the area is being written to, again and again"),
            AreaError::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AreaError {}
