//! The program: arguments in, log lines and an exit status out.
//!
//! Exit status: 0 when all went as asked, 2 when it was asked for what cannot be (a wrong flag, an
//! address in use), 1 for anything else.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};
use wsloop::Settings;
use wsloop::internals::config::{Changes, Check, Config, LogForm, LogFormat};
use wsloop::internals::net;
use wsloop::internals::net::{AdminSockets, HangUps, Master, Notify, RespSockets, TlsUses, Worker};
use wsloop::internals::tool::stress;
use wsloop::internals::tool::stress::Plan;
use wsloop::internals::tool::{Command, Stop};

const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let worker = match Worker::of_this_process() {
        Ok(worker) => worker,
        Err(error) => {
            let _ = writeln!(io::stderr(), "wsloop: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let config = match Command::load(std::env::args_os(), open_file_limit()) {
        Ok(Command::Serve(config)) => *config,
        Ok(Command::Check(check)) => return say(&check),
        Ok(Command::Stress(plan)) => return stress(&plan),
        Ok(Command::Do(task)) => return task.run(),
        Err(Stop::Print(text)) => {
            // A reader that has seen enough (`wsloop --help | head`) is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Wrong(line)) => {
            let _ = writeln!(io::stderr(), "wsloop: {line}");
            return ExitCode::from(WRONG_USE);
        }
    };
    let number = worker.as_ref().map(Worker::number);
    let log = Log::start(config.log, LogForm { format: config.log_format, worker: number });
    let served = match worker {
        None if config.workers > 1 => lead(config, &log),
        worker => serve(config, worker, &log),
    };
    match served {
        Ok(()) => {
            log.finish(None);
            ExitCode::SUCCESS
        }
        Err(error) => {
            log.finish(Some(&format!("wsloop: {error}\n")));
            let wrong_use = matches!(error, net::ReactorError::Listen { .. });
            ExitCode::from(if wrong_use { WRONG_USE } else { FAILED })
        }
    }
}

/// Says where it listens, and has workers serve.
fn lead(mut config: Config, log: &Log) -> Result<(), net::ReactorError> {
    let admin = config.admin.as_deref().map(AdminSockets::bind).transpose()?;
    let operators = admin.as_ref().map(AdminSockets::places).unwrap_or_default();
    let hangups_end = has_terminal();
    let (listen, workers) = (&config.listen, config.workers);
    let mut master = Master::bind(listen, admin, &config.settings, workers, hangups_end)?;
    let hangups = if hangups_end { None } else { HangUps::register()? };
    let (places, remote, level) = (master.places(), master.remote(), log.level.clone());
    say_notes(&config);
    for place in operators {
        tracing::info!("operators: {place}");
    }
    if let Some(mut hangups) = hangups {
        std::thread::spawn(move || {
            let notify = Notify::of_this_process();
            while hangups.wait().is_ok() {
                notify.reloading();
                // That it is done is said when the workers have read it, too.
                if !read_again(&mut config, &level, false, |settings, _| remote.renew(settings)) {
                    notify.ready();
                }
            }
        });
    }
    master.run(|| {
        tracing::info!("{workers} workers serve");
        say_places(places);
    })
}

/// Says where it listens, and serves. A worker's master says it.
fn serve(mut config: Config, worker: Option<Worker>, log: &Log) -> Result<(), net::ReactorError> {
    let resp = config.resp.as_ref().map(|resp| (RespSockets::bind(&resp.address), resp.given));
    let resp = match resp {
        Some((Err(error), true)) => return Err(error),
        bound => bound.map(|(bound, _)| bound),
    };
    let admin = config.admin.as_deref().filter(|_| worker.is_none());
    let admin = admin.map(AdminSockets::bind).transpose()?;
    let clients = resp.as_ref().and_then(|bound| bound.as_ref().ok());
    config.redis_clients_are_answered_at(&clients.map(RespSockets::addresses).unwrap_or_default());
    // A terminal that closes means the end.
    let hangups_end = has_terminal();
    let settings = config.settings.clone();
    let mut reactor =
        net::listen(&config.listen, config.tls.clone(), clients, settings, hangups_end)?;
    reactor.count_lost_lines(log.lines.lost.clone());
    let hangups = match &worker {
        Some(worker) => Some(worker.obey(reactor.remote())?),
        None if hangups_end => None,
        None => HangUps::register()?,
    };
    if worker.is_none() {
        say_places(reactor.places());
        say_notes(&config);
    }
    match resp {
        None => {}
        Some(Ok(sockets)) => {
            for place in sockets.places() {
                tracing::info!("redis clients: {place}");
            }
            reactor.answer_redis_clients(sockets)?;
        }
        Some(Err(error)) => tracing::warn!("redis clients are not answered: {error}, or off"),
    }
    if let Some(sockets) = admin {
        for place in sockets.places() {
            tracing::info!("operators: {place}");
        }
        reactor.answer_operators(sockets)?;
    }
    if let Some(mut hangups) = hangups {
        let (remote, level) = (reactor.remote(), log.level.clone());
        // On a thread of its own: files may be slow.
        std::thread::spawn(move || {
            let notify = Notify::of_this_process();
            while hangups.wait().is_ok() {
                notify.reloading();
                let follow = |settings, tls| remote.renew(settings, tls);
                read_again(&mut config, &level, worker.is_some(), follow);
                notify.ready();
                worker.iter().for_each(Worker::reloaded);
            }
        });
    }
    reactor.run()
}

/// Says where it listens. Nobody may be reading, and the pipe may be full, which is no reason not
/// to serve.
fn say_places(places: Vec<String>) {
    std::thread::spawn(move || {
        let mut out = io::stdout();
        for place in places {
            let _ = writeln!(out, "listening on {place}").and_then(|()| out.flush());
        }
    });
}

/// Says what there is to say of the configuration.
fn say_notes(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for note in &config.notes {
        tracing::info!("{note}");
    }
}

/// Whether somebody has started it in a terminal.
fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Reads the configuration again, and has it followed. A configuration that is wrong changes
/// nothing, and false is returned. What has changed is said, unless others say it.
fn read_again(
    known: &mut Config,
    level: &SetLevel,
    quiet: bool,
    follow: impl FnOnce(Settings, TlsUses),
) -> bool {
    let new = match Command::load(std::env::args_os(), open_file_limit()) {
        Ok(Command::Serve(new)) => *new,
        Ok(_) | Err(Stop::Print(_)) => return false,
        Err(Stop::Wrong(line)) => {
            tracing::error!("SIGHUP: nothing is changed: {line}");
            return false;
        }
    };
    let Changes { live, fixed } = known.renew(&new);
    let is_new = |line: &&String| !quiet && !known.warnings.contains(line);
    for warning in new.warnings.iter().filter(is_new) {
        tracing::warn!("{warning}");
    }
    known.warnings = new.warnings;
    if let Err(error) = level.reload(new.log) {
        tracing::warn!("SIGHUP: the level of the log stays: {error}");
    }
    follow(new.settings, new.tls);
    if quiet {
        return true;
    }
    let live = if live.is_empty() { "nothing else".to_owned() } else { live.join(", ") };
    tracing::info!("SIGHUP: the configuration is read again; changed: keys, {live}");
    if !fixed.is_empty() {
        tracing::warn!("SIGHUP: needs a restart: {}", fixed.join(", "));
    }
    true
}

/// Says what a check has found.
fn say(check: &Check) -> ExitCode {
    let _ = io::stdout().write_all(check.in_force.as_bytes());
    let warnings = check.warnings.iter().map(|line| format!("warning: {line}"));
    for line in warnings.chain(check.wrong.iter().cloned()) {
        let _ = writeln!(io::stderr(), "wsloop: {line}");
    }
    if check.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG_USE) }
}

/// Puts load on a server, and says what came of it.
fn stress(plan: &Plan) -> ExitCode {
    let (text, complaint) = match stress::run(plan) {
        Ok(report) if plan.json => (report.json() + "\n", report.complaint()),
        Ok(report) => (report.table(), report.complaint()),
        Err(error) => (String::new(), Some(error.to_string())),
    };
    let _ = io::stdout().write_all(text.as_bytes());
    match complaint {
        None => ExitCode::SUCCESS,
        Some(line) => {
            let _ = writeln!(io::stderr(), "wsloop: {line}");
            ExitCode::from(FAILED)
        }
    }
}

/// Raises the limit of open files as far as the system lets this process, and says how far it is.
fn open_file_limit() -> usize {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit = raised.or_else(|_| rlimit::Resource::NOFILE.get_soft());
    limit.map_or(0, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The log on standard error, written by a thread of its own: a pipe that nobody reads makes lines
/// go missing and never stops the loop.
struct Log {
    lines: Lines,
    /// Says when all is written.
    written: Receiver<()>,
    level: SetLevel,
}

/// Sets the least severe level that is logged.
type SetLevel = reload::Handle<LevelFilter, Registry>;

/// Where lines go; one that finds no room is counted.
#[derive(Clone)]
struct Lines {
    /// `None` is the end.
    queue: SyncSender<Option<Vec<u8>>>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Some(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Lines that may wait for the thread, a few hundred KiB.
    const WAITING_LINES: usize = 4096;
    /// How long the end waits for who reads the log.
    const PATIENCE: Duration = Duration::from_secs(1);

    fn start(level: LevelFilter, form: LogForm) -> Log {
        let (queue, waiting) = mpsc::sync_channel::<Option<Vec<u8>>>(Log::WAITING_LINES);
        let (say, written) = mpsc::channel();
        let lost = Arc::<AtomicU64>::default();
        let lines = Lines { queue, lost: lost.clone() };
        std::thread::spawn(move || {
            let mut said = 0;
            // There is nowhere to complain that nobody reads the log.
            while let Ok(Some(line)) = next(&waiting, &lost, &mut said) {
                let _ = io::stderr().write_all(&line);
            }
            let lines = lost.load(Ordering::Relaxed) - said;
            if lines > 0 {
                let _ = writeln!(io::stderr(), "{}", dropped(lines));
            }
            let _ = say.send(());
        });
        let writer = lines.clone();
        let (filter, level) = reload::Layer::new(level);
        let lines_of = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let text = match form.format {
            LogFormat::Text => {
                let lines_of = lines_of.compact().with_target(false).with_timer(form);
                lines_of.with_ansi(io::stderr().is_terminal()).boxed()
            }
            _ => lines_of.event_format(form).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(text).init();
        Log { lines, written, level }
    }

    /// Writes what is left, and the last line. It takes the way of all lines, because writing to a
    /// full pipe from here would wait for its reader.
    fn finish(mut self, last_line: Option<&str>) {
        if let Some(line) = last_line {
            let _ = self.lines.write_all(line.as_bytes());
        }
        // Where there is no room for the end, nobody reads.
        if self.lines.queue.try_send(None).is_ok() {
            let _ = self.written.recv_timeout(Log::PATIENCE);
        }
    }
}

/// The next line of the log. When all that waited is written, standard error is read again, and
/// lines that found no room since it was not are said to be missing.
fn next(
    waiting: &Receiver<Option<Vec<u8>>>,
    lost: &AtomicU64,
    said: &mut u64,
) -> Result<Option<Vec<u8>>, mpsc::RecvError> {
    if let Ok(line) = waiting.try_recv() {
        return Ok(line);
    }
    let lines = lost.load(Ordering::Relaxed) - *said;
    if lines > 0 {
        *said += lines;
        tracing::warn!("{}", dropped(lines));
    }
    waiting.recv()
}

fn dropped(lines: u64) -> String {
    format!("{lines} lines dropped: standard error was not read")
}
