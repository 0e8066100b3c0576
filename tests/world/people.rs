//! What tests have browsers, Redis and the application do.

use wsloop::proto::ws::frame::Opcode;

use super::contract::{Cause, LinkId};
use super::{Browser, BrowserId, EXPIRE_S, Heard, News, Party, Reach, Response, World, upgrade};

impl World {
    /// A browser connects.
    pub fn accept(&mut self) -> BrowserId {
        self.accept_at(None)
    }

    /// A browser connects from that address.
    pub fn accept_from(&mut self, address: &str) -> BrowserId {
        self.accept_at(Some(address.parse().expect("an address")))
    }

    fn accept_at(&mut self, address: Option<std::net::IpAddr>) -> BrowserId {
        let link = self.accept_browser(address);
        let id = self.browsers.len();
        self.insert(link, Party::Browser(id));
        let mut browser = Browser::new(link);
        browser.came_ms = self.now_ms.max(self.latest_ms);
        self.browsers.push(browser);
        id
    }

    /// A browser connects and sends this.
    pub fn ask(&mut self, bytes: &[u8]) -> BrowserId {
        let id = self.accept();
        self.send(id, bytes);
        self.run();
        id
    }

    /// A browser asks for a WebSocket, and may have to wait for it.
    pub fn knock(&mut self, target: &str) -> BrowserId {
        self.ask(&upgrade(target, &[]))
    }

    /// A browser asks for a WebSocket and gets it.
    pub fn open(&mut self, target: &str) -> BrowserId {
        let id = self.knock(target);
        assert_eq!(self.status(id), Some(101), "{target}");
        id
    }

    /// Lets bytes go out from a browser, in one piece, at the next turn that has none before.
    pub fn send(&mut self, id: BrowserId, bytes: &[u8]) {
        self.browsers[id].send(bytes.to_vec());
    }

    /// A browser sends a text message.
    pub fn say(&mut self, id: BrowserId, text: &str) {
        self.browsers[id].send_frame(Opcode::Text, text.as_bytes());
        self.run();
    }

    /// A browser sends a frame.
    pub fn send_frame(&mut self, id: BrowserId, opcode: Opcode, payload: &[u8]) {
        self.browsers[id].send_frame(opcode, payload);
        self.run();
    }

    /// A browser ends its side.
    pub fn hang_up(&mut self, id: BrowserId) {
        self.browsers[id].ending = Some(Cause::Ended);
        self.run();
    }

    /// A browser's link fails.
    pub fn vanish(&mut self, id: BrowserId) {
        self.browsers[id].ending = Some(Cause::Failed("Connection reset by peer".to_string()));
        self.run();
    }

    /// A browser takes so many bytes more and then none.
    pub fn stall(&mut self, id: BrowserId, after: usize) {
        self.browsers[id].appetite = Some(after);
    }

    /// A browser takes everything again.
    pub fn resume(&mut self, id: BrowserId) {
        self.browsers[id].appetite = None;
        self.take_more(id);
    }

    /// A browser takes so many bytes of what waits for it.
    pub fn resume_for(&mut self, id: BrowserId, bytes: usize) {
        self.browsers[id].appetite = Some(bytes);
        self.take_more(id);
    }

    fn take_more(&mut self, id: BrowserId) {
        if self.browsers[id].closed_ms.is_none() {
            self.flush(self.browsers[id].link);
        }
        self.run();
    }

    /// The status that a browser was answered with.
    pub fn status(&self, id: BrowserId) -> Option<u16> {
        self.browsers[id].response.as_ref().map(|response| response.status)
    }

    /// The response that a browser was given, which is complete.
    pub fn response(&self, id: BrowserId) -> &Response {
        self.browsers[id].response.as_ref().expect("it was answered")
    }

    /// Takes everything that a browser was sent.
    pub fn heard(&mut self, id: BrowserId) -> Vec<Heard> {
        std::mem::take(&mut self.browsers[id].heard).into_iter().map(|(_, heard)| heard).collect()
    }

    /// Takes everything that a browser was sent, which must be text.
    pub fn texts(&mut self, id: BrowserId) -> Vec<String> {
        let text = |heard| match heard {
            Heard::Text(text) => text,
            other => panic!("not text: {other:?}"),
        };
        self.heard(id).into_iter().map(text).collect()
    }

    /// Somebody else publishes and stores a message.
    pub fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) {
        self.redis.publish(channel, payload, EXPIRE_S, self.now_ms);
        self.run();
    }

    /// Redis's link breaks; the server may be dialed again.
    pub fn cut_redis(&mut self) {
        if self.redis_link.is_some() {
            self.redis.disconnected();
            self.redis_news =
                Some(News::HungUp(Cause::Failed("Connection reset by peer".to_string())));
        }
        self.run();
    }

    /// Redis dies.
    pub fn kill_redis(&mut self) {
        self.redis.reach = Reach::Refuses;
        self.cut_redis();
    }

    /// Redis is there again, and enough time passes for it to be dialed.
    pub fn revive_redis(&mut self) {
        self.redis.reach = Reach::Answers;
        self.pass(5_000);
        assert_eq!(self.metrics().broker_up, 1);
    }

    /// Redis's link, while there is one.
    pub fn redis_link(&self) -> Option<LinkId> {
        self.redis_link
    }

    /// The only question that the application has not answered, and the number of its link.
    #[track_caller]
    pub fn question(&self) -> (usize, &str) {
        let questions = self.app.questions();
        assert_eq!(questions.len(), 1, "{questions:?}");
        questions[0]
    }

    /// The application answers the only question that it has not answered.
    #[track_caller]
    pub fn answer(&mut self, answer: impl AsRef<[u8]>) {
        let (link, _) = self.question();
        self.app.say(link, answer);
        self.run();
    }

    /// A socket of the application takes questions again.
    pub fn resume_app(&mut self, number: usize) {
        self.flush(self.app.links[number].link);
        self.run();
    }
}
