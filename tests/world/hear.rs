//! How the server hears of what browsers, Redis and the application do.

use super::app::Said;
use super::calls::AppTold;
use super::contract::{Cause, Input};
use super::{BrowserId, News, Party, Told, World};

impl World {
    /// Who has something left that was read before, and no more of it than that.
    pub(super) fn hear_those_who_go_on(&mut self) {
        for link in std::mem::take(&mut self.leftovers) {
            self.go_on(link);
            self.note(match self.find_party(link) {
                Some(Party::Browser(id)) => Told::WentOn(id),
                _ => Told::Other,
            });
        }
    }

    pub(super) fn hear_redis(&mut self) {
        let Some(link) = self.redis_link else { return };
        match self.redis_news.take() {
            Some(News::Connected) => {
                self.redis.connected();
                self.handle(Input::Connected { link });
                self.note(Told::Other);
            }
            Some(News::HungUp(cause)) => {
                self.handle(Input::HungUp { link, cause });
                self.note_loss();
            }
            None if !self.is_reading(link) => {}
            None => {
                let Some((mut bytes, breaks)) = self.redis.speak() else { return };
                if !bytes.is_empty() {
                    let bytes = &mut bytes[..];
                    self.handle_bytes(link, bytes);
                    let arrived = self.redis.take_arrived();
                    self.note(Told::Redis(arrived));
                }
                if breaks {
                    self.redis.disconnected();
                    self.redis_news = Some(News::HungUp(Cause::Ended));
                }
            }
        }
    }

    /// The application says all that it has to say.
    pub(super) fn hear_app(&mut self) {
        while let Some((link, said)) = self.app.speak() {
            self.flush(link);
            let known = self.app.link(link);
            let told = AppTold {
                question: known.inbox.clone(),
                connected: known.connected,
                rested: known.rested,
                ..AppTold::default()
            };
            let told = match said {
                Said::Connected => {
                    self.handle(Input::Connected { link });
                    Told::Other
                }
                Said::Bytes(mut bytes, mark, rests) => {
                    self.handle_bytes(link, &mut bytes);
                    self.app.link(link).rested |= rests;
                    Told::App(AppTold { mark, ..told })
                }
                Said::HungUp(cause, mark) => {
                    self.handle(Input::HungUp { link, cause });
                    Told::AppHungUp(AppTold { mark, ..told })
                }
            };
            self.note(told);
        }
    }

    pub(super) fn hear_browser(&mut self, id: BrowserId) {
        let browser = &mut self.browsers[id];
        if !browser.has_to_speak() {
            return;
        }
        let link = browser.link;
        // With every event epoll says as well that the socket can be written to.
        self.flush(link);
        if !self.is_reading(link) {
            return;
        }
        let browser = &mut self.browsers[id];
        if let Some(mut bytes) = browser.sending.pop_front() {
            let bytes = &mut bytes[..];
            let length = bytes.len();
            browser.lively_ms = self.now_ms.max(self.latest_ms);
            self.handle_bytes(link, bytes);
            return self.note(Told::Bytes(id, length));
        }
        if let Some(cause) = browser.ending.take() {
            browser.ended = true;
            let told = Told::Ended(id, cause.clone());
            self.handle(Input::HungUp { link, cause });
            self.note(told);
        }
    }
}
