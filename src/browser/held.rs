//! L2: what a conn keeps for later, the memory that it has made grow, and what is done about it
//! where there is too much.

use super::conn::{Begun, Conn, Joining, Kept, Life, Member};
use super::context::Context;
use super::effect::Effect;
use crate::link::LinkId;

const NO_MEMORY: &str = "The server has too much memory in use; try again later.";
const GIVES_WAY: &str = "the server has too much memory in use";

impl Conn {
    /// Takes what it has sent that a turn had no time for.
    pub(crate) fn take_kept(&mut self) -> Option<Box<Kept>> {
        self.speaker().and_then(|member| member.kept.take())
    }

    /// Keeps what it has sent for its next go.
    pub(crate) fn keep(&mut self, kept: Box<Kept>) {
        if let Some(member) = self.speaker() {
            member.kept = Some(kept);
        }
    }

    /// Where what arrives next can be put, when its wish is to be filled.
    pub(crate) fn room(&mut self, waiting: usize) -> Option<&mut Vec<u8>> {
        match &mut self.life {
            Life::Open(member) if member.kept.is_none() => member.reader.room(waiting),
            _ => None,
        }
    }

    /// Whether it is closing, and what it says is published.
    pub(super) fn has_last_words(&self) -> bool {
        matches!(&self.life, Life::Closing(closing) if closing.speaker().is_some())
    }

    /// Whoever is listened to.
    fn speaker(&mut self) -> Option<&mut Member> {
        match &mut self.life {
            Life::Open(member) => Some(member),
            Life::Closing(closing) => closing.speaker_mut(),
            _ => None,
        }
    }

    /// What its state is called in figures.
    pub(crate) fn state(&self) -> &'static str {
        match &self.life {
            Life::Head(_) => "head",
            Life::Asking(_) => "asking",
            Life::Waiting(_) => "waiting",
            Life::Joining(_) => "joining",
            Life::Posting(_) => "posting",
            Life::Open(_) => "open",
            Life::Closing(_) => "closing",
        }
    }

    /// Bytes of memory that it holds beyond what an idle conn has; of shared frames its share.
    pub(crate) fn held_bytes(&self) -> usize {
        let life = match &self.life {
            Life::Head(head) => head.rest.capacity(),
            Life::Asking(asking) => {
                let questions = [&asking.lookup.question, &asking.question].into_iter().flatten();
                let questions: usize = questions.map(Vec::capacity).sum();
                asking.begun.held_bytes() + asking.request.held_bytes() + questions
            }
            Life::Waiting(waiting) => {
                let names: usize = waiting.subscribe.iter().map(String::capacity).sum();
                names + waiting.joining.held_bytes()
            }
            Life::Joining(joining) => joining.held_bytes(),
            Life::Posting(posting) => posting.held_bytes(),
            Life::Open(member) => member.held_bytes(),
            Life::Closing(closing) => closing.speaker().map_or(0, Member::held_bytes),
        };
        life + self.outbox.held_bytes()
    }

    /// It holds more than others, and all together too much: it is closed, and closed at once when
    /// it is closing already.
    pub(crate) fn give_way(&mut self, link: LinkId, cx: &mut Context) {
        if self.is_closing() {
            cx.put(link, Effect::Drop);
        } else if self.is_pending() {
            self.refuse_waiting(link, 503, NO_MEMORY, cx);
        } else {
            let dropped = self.outbox.drop_unstarted();
            cx.metrics.frames_dropped_total += dropped as u64;
            self.close(link, Some(1013), GIVES_WAY, cx);
        }
    }
}

impl Member {
    fn held_bytes(&self) -> usize {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.bytes.capacity());
        kept + self.reader.held_bytes() + self.publications.held_bytes()
    }
}

impl Joining {
    fn held_bytes(&self) -> usize {
        self.begun.held_bytes() + self.member.held_bytes()
    }
}

impl Begun {
    fn held_bytes(&self) -> usize {
        self.early.capacity() + self.post.as_ref().map_or(0, |post| post.held_bytes())
    }
}
