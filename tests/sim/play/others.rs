//! What actions do: those of the application and of RESP clients, and what they do for others.

use super::super::super::world::{Cause, Mark, Reach};
use super::super::Dice;
use super::super::action::RespTurn;
use super::super::ask::number_in;
use super::super::model::guest::Life;
use super::super::model::local::Client;
use super::super::model::{AppNews, write_control};
use super::super::outside::{AppTurn, Manner, Reply};
use super::super::people::{KEYS, Session};
use super::Game;
use super::act::pieces;

/// Who publishes from outside, where there is no Redis to publish to.
const OPERATOR: usize = 0;
/// What is no answer to anything.
const BLURT: &[u8] = b"hello?\r\n\r\n";

/// How a link ends.
fn cause(fails: bool) -> Cause {
    if fails { Cause::Failed("reset".to_owned()) } else { Cause::Ended }
}

/// Most RESP clients at one time.
const RESP_CLIENTS: usize = 4;

impl Game {
    // The application.

    pub(super) fn turn_app(&mut self, turn: AppTurn, dice: &mut Dice<'_>) {
        let app = &mut self.world.app;
        let open: Vec<usize> = (0..app.links.len()).filter(|at| app.links[*at].is_open()).collect();
        match turn {
            AppTurn::Answer { which, reply, manner } => {
                let questions = self.questions();
                if let Some((link, about)) = questions.get(which % questions.len().max(1)) {
                    self.answer(*link, *about, reply, manner);
                }
            }
            AppTurn::Prompt(prompt) => {
                self.prompt = prompt;
                self.answer_at_once(dice);
            }
            AppTurn::Reach(reach) => app.reach = reach,
            AppTurn::Stall(after) => {
                app.appetite = Some(after);
                self.model.app_stalls = true;
            }
            AppTurn::Resume => self.resume_app(),
            AppTurn::Restart => open.iter().for_each(|link| app.hang_up(*link, Cause::Ended)),
            _ if open.is_empty() => {}
            AppTurn::HangUp { which, fails } => {
                app.hang_up(open[which % open.len()], cause(fails));
            }
            AppTurn::Blurt { which } => {
                let link = open[which % open.len()];
                match number_in(&app.links[link].inbox) {
                    Some(about) => self.say_as_app(link, BLURT, AppNews::Shakes { about }),
                    None => app.blurt(link, BLURT),
                }
            }
        }
    }

    /// The application answers all that it is asked, if that is its way.
    pub(super) fn answer_at_once(&mut self, dice: &mut Dice<'_>) {
        self.digest();
        while self.prompt && !self.questions().is_empty() {
            for (link, about) in self.questions() {
                self.answer(link, about, Reply::draw(dice), Manner::default());
            }
            self.run();
        }
    }

    /// The links with whole questions, and whom those are about.
    pub(super) fn questions(&self) -> Vec<(usize, usize)> {
        let number = |text: &str| number_in(text).expect("every browser has its number");
        self.world.app.questions().into_iter().map(|(link, text)| (link, number(text))).collect()
    }

    fn answer(&mut self, link: usize, about: usize, reply: Reply, manner: Manner) {
        let guest = &self.model.guests[about];
        assert!(guest.asks, "the application is asked about browser {about} for nothing");
        let bytes = reply.bytes(manner.closes);
        self.journal.say(|| format!("  the application about {about}: {reply:?} {manner:?}"));
        self.jump(self.world.now_ms + manner.takes_ms);
        // What is no response shows before it is whole.
        let begun = match reply {
            Reply::Useless(_) => AppNews::Shakes { about },
            _ => AppNews::Nothing,
        };
        if let Some(after) = manner.ends_after {
            let said = &bytes[..after.min(bytes.len() - 1)];
            let mut mark = None;
            if !said.is_empty() {
                self.say_as_app(link, said, begun);
                mark = Some(self.mark(AppNews::Spoils { about }));
            }
            return self.world.app.hang_up_as(link, cause(manner.fails), mark);
        }
        let cut = manner.cut.filter(|cut| *cut < bytes.len());
        let (first, rest) = bytes.split_at(cut.unwrap_or(0));
        if !first.is_empty() {
            self.say_as_app(link, first, begun);
        }
        let mut rest = rest.to_vec();
        let more = if manner.twice { &bytes[..] } else { &[] };
        let again = more.split_at(manner.cut.unwrap_or(usize::MAX).min(more.len()));
        rest.extend(again.0);
        let rests = !manner.closes && !manner.twice && reply.is_sensible();
        let mark = self.mark(AppNews::Answer { about, reply });
        self.world.app.say_as(link, &rest, Some(mark), rests);
        if !again.1.is_empty() {
            self.say_as_app(link, again.1, AppNews::Nothing);
        } else if manner.closes {
            let mark = self.mark(AppNews::Nothing);
            self.world.app.hang_up_as(link, Cause::Ended, Some(mark));
        }
    }

    /// A name for something that the application says.
    fn mark(&mut self, news: AppNews) -> Mark {
        self.model.app_news.push(news);
        self.model.app_news.len() - 1
    }

    fn say_as_app(&mut self, link: usize, bytes: &[u8], news: AppNews) {
        let mark = self.mark(news);
        self.world.app.say_as(link, bytes, Some(mark), false);
    }

    pub(super) fn resume_app(&mut self) {
        self.world.app.appetite = None;
        self.model.app_stalls = false;
        for link in 0..self.world.app.links.len() {
            if !self.world.app.links[link].closed {
                self.world.resume_app(link);
            }
        }
    }

    /// Nobody waits for the application that could be asked about.
    pub(super) fn check_questions(&self) {
        let Some(connections) = self.setup.application else { return };
        let app = &self.world.app;
        assert!(app.open() <= connections, "{} links to the application", app.open());
        let paused = app.undialed_ms.is_some_and(|at_ms| self.world.latest_ms() < at_ms + 300);
        let dialing = app.links.iter().any(|link| !link.closed && !link.connected);
        if paused || dialing || app.reach != Reach::Answers || app.appetite.is_some() {
            return;
        }
        let questions = self.questions();
        let asking = (0..self.model.guests.len())
            .filter(|id| self.model.guests[*id].life == Life::Asking)
            .filter(|id| !questions.iter().any(|(_, about)| about == id));
        let resting = app.open() - questions.len();
        for id in asking {
            let busy = app.open() >= connections && resting == 0;
            assert!(busy, "the application is not asked about browser {id}: {:?}", app.links);
        }
    }

    // RESP clients, and what they do for others.

    /// A RESP client connects.
    pub(super) fn connect_resp(&mut self, three: bool) {
        let id = self.world.connect_resp();
        let local = self.model.local.as_mut().expect("it has RESP clients");
        local.clients.push(Client::new(three));
        if three {
            const HELLO: &str = "HELLO 3\r\n";
            local.clients[id].queued = HELLO.len();
            self.world.tell(id, HELLO);
            let hello = self.world.take_received(id);
            assert!(hello.starts_with(b"%"), "{}", hello.escape_ascii());
        }
    }

    pub(super) fn turn_resp(&mut self, turn: RespTurn) {
        let who = |who: usize, clients: usize| 1 + who % (clients - 1).max(1);
        let clients = self.world.resp_clients.len();
        let open = self.world.resp_clients.iter().filter(|client| !client.closed).count();
        let local = self.model.local.as_mut().expect("it has RESP clients");
        match turn {
            RespTurn::Connect { three } => {
                let room = self.world.metrics().conns as usize + open < self.setup.max_connections;
                if open < RESP_CLIENTS && room && !self.model.shut_down {
                    self.connect_resp(three);
                }
            }
            _ if clients < 2 => {}
            RespTurn::Send { who: at, commands, cuts } => {
                let max_message = self.setup.max_message;
                let words: Vec<Vec<Vec<u8>>> = commands
                    .iter()
                    .map(|command| {
                        self.messages += 1;
                        let payload = command.payload();
                        let payload = payload.map(|p| p.bytes(self.messages, max_message));
                        command.words(&payload.unwrap_or_default())
                    })
                    .collect();
                // The one that came last is the likeliest to be there still.
                self.command(clients - who(at, clients), &words, &cuts);
            }
            RespTurn::Stall { who: at, after } => {
                let id = clients - who(at, clients);
                // Who is about to end its side reads all first.
                if self.world.resp_clients[id].ending.is_none() {
                    local.clients[id].stalled = true;
                    self.world.stall_resp(id, after);
                }
            }
            RespTurn::Resume { who: at } => {
                let id = clients - who(at, clients);
                local.clients[id].stalled = false;
                self.world.resume_resp(id);
            }
            RespTurn::End { who: at, fails } => {
                let id = clients - who(at, clients);
                // Who ends its side is served until it has read all.
                let fails = fails || local.clients[id].stalled;
                self.world.resp_clients[id].ending.get_or_insert(cause(fails));
            }
        }
    }

    /// A RESP client sends commands, in pieces.
    fn command(&mut self, id: usize, commands: &[Vec<Vec<u8>>], cuts: &[usize]) {
        let client = &self.world.resp_clients[id];
        if client.closed || client.ending.is_some() {
            return;
        }
        let model = &mut self.model.local.as_mut().expect("it has RESP clients").clients[id];
        let (mut bytes, before) = (Vec::new(), model.queued);
        for words in commands {
            bytes.extend(format!("*{}\r\n", words.len()).as_bytes());
            for word in words {
                bytes.extend(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend(word);
                bytes.extend(b"\r\n");
            }
            model.script.push_back((before + bytes.len(), words.clone()));
        }
        model.queued += bytes.len();
        for piece in pieces(bytes.len(), cuts).windows(2) {
            self.world.send_later(id, &bytes[piece[0]..piece[1]]);
        }
    }

    /// A RESP client of the script's own says it, to the broker that is embedded.
    fn command_as_operator(&mut self, commands: &[&[&[u8]]]) {
        let owned = |words: &&[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
        let commands: Vec<Vec<Vec<u8>>> = commands.iter().map(owned).collect();
        self.command(OPERATOR, &commands, &[]);
    }

    pub(super) fn publish_as_operator(
        &mut self,
        channel: &str,
        payloads: Vec<Vec<u8>>,
        expire_s: u64,
    ) {
        let (name, seconds) = (channel.as_bytes(), expire_s.to_string());
        let mut commands: Vec<&[&[u8]]> = Vec::new();
        let words: Vec<[&[u8]; 3]> =
            payloads.iter().map(|payload| [&b"PUBLISH"[..], name, payload]).collect();
        let last = payloads.last().expect("there is one");
        let set: [&[u8]; 5] = [b"SET", name, last, b"EX", seconds.as_bytes()];
        commands.extend(words.iter().map(|words| &words[..]));
        if expire_s > 0 {
            commands.push(&set);
        }
        self.command_as_operator(&commands);
    }

    /// Somebody logs in or out.
    pub(super) fn set_session(&mut self, key: usize, session: Option<Session>) {
        // Whose session is asked for twice is asked for in the order of their places, which is
        // nobody's affair: they are to get the same answer.
        let looking = |guest: &super::super::model::guest::Guest| {
            guest.life == Life::LookingUp && guest.ask.cookie == Some(key)
        };
        if self.model.guests.iter().filter(|guest| looking(guest)).count() > 1 {
            return;
        }
        let name = format!("session:{}", KEYS[key]);
        let value = session.map(|session| session.bytes(self.setup.max_message));
        match (value, self.setup.redis) {
            (Some(value), true) => self.world.redis.set(&name, value),
            (None, true) => self.world.redis.remove(&name),
            (Some(value), false) => {
                let set: [&[u8]; 5] = [b"SET", name.as_bytes(), &value, b"EX", b"3600"];
                self.command_as_operator(&[&set]);
            }
            (None, false) => self.command_as_operator(&[&[b"DEL", name.as_bytes()]]),
        }
    }

    /// The application, or the operator, has somebody's conns closed.
    pub(super) fn disconnect(&mut self, whose: (&str, &str), code: Option<u16>, sense: bool) {
        let message = write_control(whose, code, sense);
        let Some(channel) = self.model.control() else { return };
        let now_ms = self.world.latest_ms();
        match self.setup.redis {
            true => self.world.redis.publish(&channel, &message, 0, now_ms),
            false => self.command_as_operator(&[&[b"PUBLISH", channel.as_bytes(), &message]]),
        }
    }
}
