//! L4: the phases of a run, one after the other.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, IsTerminal, Write};

use crate::proto::resp::command;
use crate::proto::ws::frame::{Opcode, encode_masked};

use super::conn::{Task, close_frame, mask};
use super::load::{Echo, Load};
use super::payload::{LEAST, Payload};
use super::pool::{Door, Pool};
use super::process::{Cpu, private_bytes};
use super::report::{ProbeReport, Report, Usage};
use super::topic::Topic;
use super::{Mode, Plan, StressError, Way};
use crate::client::url::of_one;

const MS: u64 = 1_000_000;
/// A wait is looked at again after so long at the latest, for the progress bar and the timeout.
const LOOK_NS: u64 = 100 * MS;

/// Does all of it.
pub fn run(plan: &Plan) -> Result<Report, StressError> {
    let mut run = Run::new(plan)?;
    run.settle()?;
    let before = run.usage()?;
    let memory_before = run.memory()?;
    if plan.mode == Mode::Churn {
        run.churn()?;
        let used = run.usage()?.since(before);
        run.settle()?;
        let memory = [Some(memory_before), None, Some(run.memory()?)];
        return Ok(run.report(used, Usage::default(), memory));
    }
    run.connect()?;
    run.settle()?;
    let connecting = run.usage()?.since(before);
    let memory_connected = run.memory()?;
    let publishers = run.open_extras()?;
    let before = run.usage()?;
    match plan.mode {
        Mode::Fanout => run.fan_out(&publishers)?,
        Mode::Echo => run.echo()?,
        Mode::Idle | Mode::Churn => run.idle()?,
    }
    let traffic = if plan.mode == Mode::Idle {
        run.usage()?.since(before)
    } else {
        run.settle()?;
        run.usage()?.since(before)
    };
    let memory = [Some(memory_before), Some(memory_connected), Some(run.memory()?)];
    run.say_goodbye();
    Ok(run.report(connecting, traffic, memory))
}

/// Where messages are put for the server to have them.
struct Publisher<'p> {
    /// The place of its conn.
    at: usize,
    way: &'p Way,
}

struct Run<'p> {
    plan: &'p Plan,
    door: Door,
    pool: Pool,
    load: Load,
    bytes: Vec<u8>,
    progress: Progress,
    /// When something arrived last.
    alive_ns: u64,
    /// Why it ended early.
    failure: Option<String>,
    connecting_ns: u64,
    traffic_ns: u64,
    handshakes: u64,
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan) -> Result<Run<'p>, StressError> {
        let keys = RandomState::new();
        let payload = |name: &str, size| Payload::new(keys.hash_one(name) as u32, size);
        let echo = Echo::new(payload("echo", plan.size), plan.messages, plan.window);
        let topic = match plan.url.is_of_each() {
            true => Topic::of_each(payload("topic", plan.size), plan.clients),
            false => Topic::new(payload("topic", plan.size)),
        };
        let probe = Topic::new(payload("probe", LEAST));
        Ok(Run {
            plan,
            door: Door::to(&plan.url)?,
            pool: Pool::new(keys.hash_one("key"))?,
            load: Load::new(plan.mode, topic, probe, echo),
            bytes: Vec::new(),
            progress: Progress::default(),
            alive_ns: 0,
            failure: None,
            connecting_ns: 0,
            traffic_ns: 0,
            handshakes: 0,
        })
    }

    /// Opens the crowd's conns.
    fn connect(&mut self) -> Result<(), StressError> {
        let start_ns = self.pool.now_ns();
        self.alive_ns = start_ns;
        let clients = self.plan.clients as usize;
        while self.load.connect.count() < clients as u64 {
            while self.pool.len() < clients && self.pool.handshaking() < self.plan.pending {
                self.pool.dial(&self.door, Task::Client)?;
            }
            self.turn(u64::MAX)?;
            let open = self.load.connect.count() as usize;
            self.progress.show(self.pool.now_ns(), "connected", open, clients);
            if self.has_stalled() {
                return Err(StressError::Stalled { open, of: clients });
            }
            if let Some(close) = self.load.closes.keys().next() {
                let (code, reason) = close.clone().unzip();
                return Err(StressError::Closed { code, reason: reason.unwrap_or_default() });
            }
        }
        self.handshakes = self.load.connect.count();
        self.connecting_ns = self.pool.now_ns() - start_ns;
        Ok(())
    }

    /// Opens whatever else is needed: publishers, and the probe's listener.
    fn open_extras(&mut self) -> Result<[Option<Publisher<'p>>; 2], StressError> {
        let plan = self.plan;
        if plan.mode != Mode::Fanout {
            return Ok([None, None]);
        }
        let mut wanted = 1;
        let publisher = Some(self.open_publisher(&plan.publish, Task::Publish)?);
        let mut probe = None;
        if let Some(asked) = &plan.probe {
            self.pool.dial(&Door::to(&asked.url)?, Task::HearProbe)?;
            probe = Some(self.open_publisher(&asked.publish, Task::PublishProbe)?);
            wanted += 2;
        }
        self.alive_ns = self.pool.now_ns();
        while self.load.extras_open < wanted {
            self.turn(u64::MAX)?;
            if self.has_stalled() {
                return Err(StressError::Stalled { open: self.load.extras_open, of: wanted });
            }
        }
        self.settle()?;
        Ok([publisher, probe])
    }

    fn open_publisher(&mut self, way: &'p Way, task: Task) -> Result<Publisher<'p>, StressError> {
        let at = match way {
            Way::WebSocket(url) => self.pool.dial(&Door::to(url)?, task)?,
            Way::Redis { redis, .. } => self.pool.dial_redis(redis, task)?,
        };
        Ok(Publisher { at, way })
    }

    /// Publishes as fast as the window and the rate allow, until all have all.
    fn fan_out(&mut self, publishers: &[Option<Publisher<'p>>; 2]) -> Result<(), StressError> {
        let [Some(main), probe] = publishers else { return Ok(()) };
        let start_ns = self.pool.now_ns();
        self.alive_ns = start_ns;
        let messages = self.plan.messages;
        let mut next_probe_ns = start_ns;
        loop {
            let now_ns = self.pool.now_ns();
            let mut until_ns = self.publish(main, start_ns, now_ns);
            let in_flight = self.load.topic.in_flight();
            let complete = self.load.topic.published() == messages && in_flight == 0;
            if let (false, Some(publisher), Some(asked)) = (complete, probe, &self.plan.probe) {
                if now_ns >= next_probe_ns {
                    self.publish_probe(publisher, now_ns);
                    let interval_ns = asked.interval_ms * MS;
                    // Those that this process was too late for are left out.
                    next_probe_ns += ((now_ns - next_probe_ns) / interval_ns + 1) * interval_ns;
                }
                until_ns = until_ns.min(next_probe_ns);
            }
            let all_in_flight = in_flight + self.load.probe.in_flight();
            let done = self.load.topic.published() as usize - in_flight;
            self.progress.show(now_ns, "delivered", done, messages as usize);
            if complete && all_in_flight == 0 {
                break;
            }
            if all_in_flight == 0 {
                // Nothing can arrive before something was sent.
                self.alive_ns = now_ns;
            }
            self.turn(until_ns)?;
            if self.load.topic.listeners() == 0 {
                self.failure = Some("no client is left".to_owned());
            } else if self.load.publisher_gone {
                self.failure = Some("the publisher was closed".to_owned());
            } else if self.has_stalled() {
                self.failure = Some(self.stall());
            }
            if self.failure.is_some() {
                break;
            }
        }
        self.traffic_ns = self.pool.now_ns() - start_ns;
        Ok(())
    }

    /// Publishes what may be published now, and says when the next may.
    fn publish(&mut self, publisher: &Publisher<'_>, start_ns: u64, now_ns: u64) -> u64 {
        let Plan { messages, window, rate, clients, .. } = *self.plan;
        self.bytes.clear();
        let mut next_ns = u64::MAX;
        let topic = &mut self.load.topic;
        while topic.published() < messages && topic.in_flight() < window as usize {
            if let Some(rate) = rate {
                let due_ns = start_ns + (f64::from(topic.published()) / rate * 1e9) as u64;
                if due_ns > now_ns {
                    next_ns = due_ns;
                    break;
                }
            }
            let listener = topic.published() % clients;
            publisher.way.put(listener, topic.publish(now_ns), now_ns, &mut self.bytes);
        }
        if !self.bytes.is_empty() {
            self.pool.send(publisher.at, &self.bytes);
        }
        next_ns
    }

    fn publish_probe(&mut self, publisher: &Publisher<'_>, now_ns: u64) {
        if self.load.probe.listeners() > 0 {
            self.bytes.clear();
            publisher.way.put(0, self.load.probe.publish(now_ns), now_ns, &mut self.bytes);
            self.pool.send(publisher.at, &self.bytes);
        }
    }

    /// Has every client send its messages and wait for them.
    fn echo(&mut self) -> Result<(), StressError> {
        let start_ns = self.pool.now_ns();
        self.alive_ns = start_ns;
        let places: Vec<usize> = self.pool.clients().map(|(at, _)| at).collect();
        let all = self.handshakes * u64::from(self.plan.messages);
        for at in places {
            self.bytes.clear();
            self.load.echo.begin(self.pool.now_ns(), &mut self.bytes);
            self.pool.send(at, &self.bytes);
        }
        while self.load.echo.settled() < all {
            self.turn(u64::MAX)?;
            let settled = self.load.echo.settled() as usize;
            self.progress.show(self.pool.now_ns(), "echoed", settled, all as usize);
            if self.has_stalled() {
                self.failure = Some(self.stall());
                break;
            }
        }
        self.traffic_ns = self.pool.now_ns() - start_ns;
        Ok(())
    }

    /// Lets time pass.
    fn idle(&mut self) -> Result<(), StressError> {
        let start_ns = self.pool.now_ns();
        let end_ns = start_ns + self.plan.duration_ms * MS;
        while self.pool.now_ns() < end_ns {
            self.turn(end_ns)?;
            let done = (self.pool.now_ns() - start_ns) / MS;
            self.progress.show(
                self.pool.now_ns(),
                "ms idle",
                done as usize,
                self.plan.duration_ms as usize,
            );
        }
        self.traffic_ns = self.pool.now_ns() - start_ns;
        Ok(())
    }

    /// Connects and closes, over and over.
    fn churn(&mut self) -> Result<(), StressError> {
        let start_ns = self.pool.now_ns();
        self.alive_ns = start_ns;
        let end_ns = start_ns + self.plan.duration_ms * MS;
        loop {
            let now_ns = self.pool.now_ns();
            let clients = self.plan.clients as usize;
            while now_ns < end_ns
                && self.pool.len() < clients
                && self.pool.handshaking() < self.plan.pending
            {
                self.pool.dial(&self.door, Task::Client)?;
            }
            let done = ((now_ns - start_ns) / MS).min(self.plan.duration_ms);
            self.progress.show(now_ns, "ms churned", done as usize, self.plan.duration_ms as usize);
            if now_ns >= end_ns && self.pool.len() == 0 {
                break;
            }
            self.turn(end_ns.max(now_ns + LOOK_NS))?;
            if self.has_stalled() {
                self.failure = Some(self.stall());
                break;
            }
        }
        self.handshakes = self.load.connect.count();
        self.connecting_ns = self.pool.now_ns() - start_ns;
        Ok(())
    }

    /// Some quiet, in which late messages and pings still count.
    fn settle(&mut self) -> Result<(), StressError> {
        let end_ns = self.pool.now_ns() + self.plan.settle_ms * MS;
        while self.pool.now_ns() < end_ns {
            self.turn(end_ns)?;
        }
        Ok(())
    }

    fn say_goodbye(&mut self) {
        self.bytes.clear();
        close_frame(Some(1000), self.pool.now_ns(), &mut self.bytes);
        let places: Vec<usize> = self.pool.clients().map(|(at, _)| at).collect();
        for at in places {
            self.pool.send(at, &self.bytes);
        }
    }

    /// A turn of the loop. Only these count as life, for pings and the probe go on whatever is
    /// lost: handshakes, conns that were closed as they should be, and messages.
    fn turn(&mut self, until_ns: u64) -> Result<(), StressError> {
        let before = self.load.life();
        let look_ns = self.pool.now_ns() + LOOK_NS;
        self.pool.turn(until_ns.min(look_ns), &mut self.load)?;
        if self.load.life() > before {
            self.alive_ns = self.pool.now_ns();
        }
        Ok(())
    }

    fn has_stalled(&self) -> bool {
        self.pool.now_ns().saturating_sub(self.alive_ns) > self.plan.timeout_ms * MS
    }

    fn stall(&self) -> String {
        let seconds = self.plan.timeout_ms as f64 / 1000.0;
        let hint = match self.plan.mode {
            Mode::Fanout if self.load.topic.tally.received == 0 => {
                "; may the publisher publish (--allow of wsloop), and to what the clients hear?"
            }
            _ => "",
        };
        format!("nothing arrived for {seconds} s{hint}")
    }

    fn report(&self, connecting: Usage, traffic: Usage, memory: [Option<u64>; 3]) -> Report {
        let (plan, load) = (self.plan, &self.load);
        let tally = if plan.mode == Mode::Echo { &load.echo.tally } else { &load.topic.tally };
        let due = match plan.mode {
            Mode::Fanout => load.topic.due(self.handshakes),
            Mode::Echo => self.handshakes * u64::from(plan.messages),
            Mode::Idle | Mode::Churn => 0,
        };
        let probe = plan.probe.as_ref().map(|_| ProbeReport {
            messages: load.probe.published(),
            lost: u64::from(load.probe.published()) - load.probe.tally.received,
            latency: load.probe.tally.latency.clone(),
        });
        Report {
            mode: plan.mode,
            url: plan.url.to_string(),
            clients: plan.clients,
            handshakes: self.handshakes,
            connecting_s: self.connecting_ns as f64 / 1e9,
            connect: load.connect.clone(),
            messages: plan.messages,
            size: plan.size,
            window: plan.window,
            received: tally.received,
            lost: due - tally.received,
            duplicated: tally.duplicated,
            reordered: tally.reordered,
            corrupt: tally.corrupt,
            traffic_s: self.traffic_ns as f64 / 1e9,
            latency: tally.latency.clone(),
            last: load.topic.last.clone(),
            probe,
            connecting,
            traffic,
            memory: memory.map(|bytes| bytes.filter(|_| !plan.pids.is_empty())),
            watched: !plan.pids.is_empty(),
            closes: load.closes.iter().map(|(close, count)| (close.clone(), *count)).collect(),
            failure: self.failure.clone(),
        }
    }

    fn usage(&self) -> Result<Usage, StressError> {
        let server = Cpu::of(&self.plan.pids)?;
        Ok(Usage { server, tool: Cpu::of(&[std::process::id()])? })
    }

    fn memory(&self) -> Result<u64, StressError> {
        private_bytes(&self.plan.pids)
    }
}

impl Way {
    /// Appends what puts a message to the server, for that listener where each has its own.
    fn put(&self, listener: u32, payload: &[u8], now_ns: u64, out: &mut Vec<u8>) {
        match self {
            Way::WebSocket(_) => encode_masked(Opcode::Text, payload, mask(now_ns), out),
            Way::Redis { channel, .. } => {
                let channel = of_one(channel, listener);
                command(out, &[b"PUBLISH", channel.as_bytes(), payload]);
            }
        }
    }
}

/// A bar on the terminal, if there is one.
#[derive(Default)]
struct Progress {
    next_ns: u64,
    shown: bool,
}

impl Progress {
    fn show(&mut self, now_ns: u64, what: &str, done: usize, of: usize) {
        const WIDTH: usize = 30;
        if now_ns < self.next_ns {
            return;
        }
        self.next_ns = now_ns + LOOK_NS;
        let mut err = io::stderr();
        if err.is_terminal() {
            let full = WIDTH * done.min(of) / of.max(1);
            let (full, rest) = ("#".repeat(full), "-".repeat(WIDTH - full));
            let _ = write!(err, "\r[{full}{rest}] {done} of {of} {what}   ");
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
